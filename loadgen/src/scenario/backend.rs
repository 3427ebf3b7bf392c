//! The backend link: members of a group receive, verify and acknowledge everything that clients say,
//! in the events protocol or in wse.

mod app_message;
mod batch;
mod churn;
mod clients;
mod dialect;
mod group_numbers;
mod handler;
mod inbox;
mod ledger;
mod lifecycles;
mod link;
mod load;
mod members;
mod number_set;

use crate::cli::{self, Common, Scenario};
use crate::net::Target;
use crate::outcome::Outcome;

use app_message::AppMessages;
use dialect::Dialect;
use handler::Plan;
use link::Link;

/// Where members attach.
const PATH: &str = "/api/v1/backend";

/// Runs the scenario. Latency is from the write of a message, or its scheduled time, to the read of the
/// member that got it.
pub(crate) fn run(
    scenario: &Scenario,
    options: &cli::Backend,
    target: &Target,
    common: &Common,
) -> Result<Outcome, String> {
    let (clients, at_once) = if options.churn {
        (options.clients() as usize, churn::at_once(options) as usize)
    } else {
        (options.connections.into(), options.connections.into())
    };
    if options.in_flight < options.burst() && options.rate.is_none() {
        return Err("--in-flight has to be --burst at least".into());
    }
    let dialect = match scenario {
        Scenario::Wse(_) => Dialect::Wse,
        _ => Dialect::Events,
    };
    let has_ids = options.has_ids(dialect.names_refused());
    let messages = AppMessages::new(dialect, options.size, has_ids, common.seed)?;
    let query = format!("group={}&credit={}", options.group, options.credit);
    let plan = Plan {
        target: target.clone(),
        member_target: target.at(PATH, &query, &options.member_headers),
        clients,
        members: options.members.into(),
        burst: options.burst(),
        in_flight: options.rate.is_none().then_some(options.in_flight),
        ack_delay: options.slow_member.unwrap_or_default(),
    };
    let net = super::net(target, common, at_once + plan.members)?;
    let mut link = Link::attach(net, plan, messages, common)?;
    if options.churn {
        churn::run(&mut link, options)?;
    } else {
        load::run(&mut link, options)?;
    }
    let outcome = super::outcome(scenario, target, common, "messages");
    Ok(link.report(outcome, clients))
}
