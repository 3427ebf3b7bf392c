//! What protocols register: counters, and reasons for which connections end.

use super::OldName;

/// A counter that a protocol has registered, the same on all shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CounterId(pub(super) usize);

/// A protocol by its number, the same on all shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DialectId(u8);

impl DialectId {
    /// The number.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Protocols of a process.
pub const DIALECTS_MAX: usize = 16;

/// What protocols count.
#[derive(Default, Debug)]
pub struct CounterRegistry {
    /// The counters by number: the name in `/metrics`, and what it counts.
    pub(super) counters: Vec<(&'static str, &'static str)>,
    /// Reasons for which connections end, behind those of all protocols.
    ends: Vec<EndReason>,
    /// Close codes that a protocol has in place of the usual ones: the protocol, the label of the reason, the code.
    codes: Vec<(&'static str, &'static str, u16)>,
    /// The names of the protocols, by number.
    dialects: Vec<&'static str>,
    /// Names that numbers had in the servers of these protocols.
    old_names: Vec<(&'static str, &'static [OldName])>,
}

/// A reason for which a protocol ends connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndReason {
    /// Its label in `/metrics`.
    pub label: &'static str,
    /// The close code that is sent (RFC 6455 section 7.4).
    pub code: u16,
    /// The text that is sent with it.
    pub text: &'static str,
}

/// Reasons for which connections end, of all protocols together.
pub const END_REASONS_MAX: usize = 32;

impl CounterRegistry {
    /// Registers the counter `name`, which by custom ends in `_total`; `help` says what it counts.
    pub fn register(&mut self, name: &'static str, help: &'static str) -> CounterId {
        self.counters.push((name, help));
        CounterId(self.counters.len() - 1)
    }

    /// Registers a reason for which connections end, where there are `before` without those of protocols. Returns its
    /// number among those of protocols. Protocols that end connections for the same reason share it.
    ///
    /// # Panics
    /// There are more than [`END_REASONS_MAX`], or another protocol means something else by the label.
    pub fn register_end(&mut self, reason: EndReason, before: usize) -> u8 {
        let number = self.ends.iter().position(|it| it.label == reason.label);
        if let Some(number) = number {
            assert_eq!(self.ends[number], reason, "one label has one meaning");
            return u8::try_from(number).expect("there are few");
        }
        let number = self.ends.len();
        assert!(
            before + number < END_REASONS_MAX,
            "at most {END_REASONS_MAX} reasons"
        );
        self.ends.push(reason);
        u8::try_from(number).expect("there are few")
    }

    /// Has connections of `protocol` closed with `code` for the reasons with these labels.
    pub fn register_code(&mut self, protocol: &'static str, labels: &[&'static str], code: u16) {
        let codes = labels.iter().map(|label| (protocol, *label, code));
        self.codes.extend(codes);
    }

    /// The code that connections of `protocol` are closed with for a reason, if it is not the usual one.
    #[must_use]
    pub fn code_of(&self, protocol: &str, label: &str) -> Option<u16> {
        let mut codes = self.codes.iter();
        let found = codes.find(|(of, reason, _)| *of == protocol && *reason == label);
        found.map(|(_, _, code)| *code)
    }

    /// Registers a protocol, whose connections are counted under `name`.
    ///
    /// # Panics
    /// There are more than [`DIALECTS_MAX`].
    pub fn register_dialect(&mut self, name: &'static str) {
        assert!(
            self.dialects.len() < DIALECTS_MAX,
            "at most {DIALECTS_MAX} protocols"
        );
        self.dialects.push(name);
    }

    /// The protocol of this name.
    ///
    /// Cost: a comparison for each.
    #[must_use]
    pub fn dialect(&self, name: &str) -> Option<DialectId> {
        let number = self.dialects.iter().position(|known| *known == name)?;
        Some(DialectId(u8::try_from(number).expect("there are few")))
    }

    /// The names of the protocols, by number.
    #[must_use]
    pub fn dialects(&self) -> &[&'static str] {
        &self.dialects
    }

    /// Registers names that numbers had in the servers of `protocol`.
    pub fn register_old_names(&mut self, protocol: &'static str, names: &'static [OldName]) {
        self.old_names.push((protocol, names));
    }

    /// The names that `protocol` has registered.
    #[must_use]
    pub fn old_names(&self, protocol: &str) -> Option<&'static [OldName]> {
        let mut all = self.old_names.iter();
        all.find(|(of, _)| *of == protocol).map(|(_, names)| *names)
    }

    /// The registered reasons, by number.
    #[must_use]
    pub fn ends(&self) -> &[EndReason] {
        &self.ends
    }
}
