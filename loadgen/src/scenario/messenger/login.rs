//! What a login costs the server, beside a plain request and the verification of a signature.

use std::hint::black_box;
use std::time::Duration;

use super::accounts::accounts;
use super::logins::{Logins, Work};
use crate::cli::{self, Common, Scenario};
use crate::measure::Window;
use crate::messenger::Account;
use crate::net::{Net, Target};
use crate::outcome::{LoginCost, Outcome};
use crate::process;

/// Turns of logins and plain requests, so that what else the machine does hits both.
const TURNS: u32 = 4;

/// Verifications that are measured.
const VERIFICATIONS: u32 = 10_000;

/// Runs the scenario.
pub(super) fn run(
    scenario: &Scenario,
    options: &cli::MessengerLogin,
    target: &Target,
    common: &Common,
) -> Result<Outcome, String> {
    let mut window = Window::new(common.pid)?;
    let accounts = accounts(options.users, None)?;
    let (mut net, mut logins) =
        Logins::connect(accounts, options.connections.into(), target, common)?;
    logins.do_all(&mut net, Work::Register, common.patience)?;
    let mut load = |work, time| measure(&mut net, &mut logins, (work, time), common);
    load(Work::Login, common.warmup)?;
    load(Work::Plain, common.warmup / 2)?;
    let time = common.duration / (2 * TURNS);
    let (mut logged_in, mut plain) = (Cost::default(), Cost::default());
    for _ in 0..TURNS {
        logged_in.add(load(Work::Login, time)?);
        plain.add(load(Work::Plain, time)?);
    }
    // One more turn fills the usual report.
    let start = (net.now_ns(), logins.done);
    window.start(start.0, start.1, 0, net.traffic());
    measure(&mut net, &mut logins, (Work::Login, time), common)?;
    window.stop(net.now_ns(), logins.done, 0, net.traffic());
    let mut outcome = crate::scenario::outcome(scenario, target, common, "logins");
    window.report(&mut outcome);
    let verification_ns = verification_ns()?;
    match common.pid {
        Some(_) => {
            outcome.login = Some(LoginCost::new(
                logged_in.each_ns(),
                plain.each_ns(),
                verification_ns,
            ));
        }
        None => outcome
            .notes
            .push("give --pid to see what a login costs the server".into()),
    }
    Ok(outcome)
}

/// CPU time of the server, and what it was for.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    cpu_ns: u64,
    count: u64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.cpu_ns += other.cpu_ns;
        self.count += other.count;
    }

    fn each_ns(self) -> f64 {
        self.cpu_ns as f64 / self.count.max(1) as f64
    }
}

/// Lets all connections do `work` for this time.
fn measure(
    net: &mut Net,
    logins: &mut Logins,
    (work, time): (Work, Duration),
    common: &Common,
) -> Result<Cost, String> {
    let cpu_ns = || match common.pid {
        Some(pid) => process::cpu_ns(&pid.to_string())
            .map_err(|error| format!("--pid {pid} cannot be read: {error}")),
        None => Ok(0),
    };
    let (began_ns, done) = (cpu_ns()?, logins.done);
    let until_ns = net.now_ns() + time.as_nanos() as u64;
    logins.begin(net, work, usize::MAX);
    while net.now_ns() < until_ns {
        logins.turn(net)?;
    }
    logins.end(net, common.patience)?;
    Ok(Cost {
        cpu_ns: cpu_ns()? - began_ns,
        count: logins.done - done,
    })
}

/// CPU time of a verification with the library that the gateway uses.
fn verification_ns() -> Result<f64, String> {
    let account = Account::new("a".into())?;
    let texts: Vec<[u8; 32]> = (0..64).map(|number| [number; 32]).collect();
    let signed: Vec<_> = texts
        .iter()
        .map(|text| (text, account.sign(text)))
        .collect();
    let cpu_ns = || process::cpu_ns("self").map_err(|error| format!("own CPU time: {error}"));
    let began_ns = cpu_ns()?;
    for (text, signature) in signed.iter().cycle().take(VERIFICATIONS as usize) {
        if !black_box(account.is_signed(*text, black_box(signature))) {
            return Err("a signature is not its own".into());
        }
    }
    Ok((cpu_ns()? - began_ns) as f64 / f64::from(VERIFICATIONS))
}
