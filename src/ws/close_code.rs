//! Close codes (RFC 6455 section 7.4).

/// The status code of a close frame.
///
/// Any `u16` is representable, because a peer may send any; [`is_valid_on_wire`](Self::is_valid_on_wire) tells
/// which are allowed in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A message's content does not fit its type: text that is not UTF-8, deflate that is corrupt.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The message breaks a rule of the application.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// The message is larger than the endpoint accepts.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// A gateway got an invalid response from its upstream (IANA registry).
    pub const BAD_GATEWAY: Self = Self(1014);

    /// Whether the code may be sent in a close frame. The list:
    ///
    /// - 1000 to 1003 and 1007 to 1011, defined by RFC 6455 section 7.4.1,
    /// - 1012 to 1014, registered with IANA since, which deployed servers and browsers send,
    /// - 3000 to 3999 (registered by libraries) and 4000 to 4999 (private), section 7.4.2.
    ///
    /// Not valid are 1004, 1005, 1006 and 1015, which are reserved or only ever reported locally.
    #[must_use]
    pub const fn is_valid_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
