//! The protocols' codecs: bytes in, values out, and back.

pub mod bridge;
pub mod disconnect;
pub mod events;
pub mod schema;
pub mod sse;

pub use disconnect::Disconnect;

/// The wire formats of all protocols.
#[derive(Clone, Copy, Debug)]
pub struct WireFormats {
    /// Those of the events protocol.
    pub events: events::EventsFormats,
    /// Those of the bridge protocol.
    pub bridge: bridge::BridgeFormats,
    /// That of streams of events.
    pub sse: crate::id::FormatId,
}

impl WireFormats {
    /// Registers them.
    pub fn register(registry: &mut crate::engine::FormatRegistry) -> Self {
        Self {
            events: events::EventsFormats::register(registry),
            bridge: bridge::BridgeFormats::register(registry),
            sse: sse::register(registry),
        }
    }

    /// That of a connection which speaks `dialect`, and reads compressed frames that it shares with others or not.
    #[must_use]
    pub fn of(&self, dialect: Dialect, is_deflated: bool) -> crate::id::FormatId {
        match dialect {
            Dialect::Events(encoding) => self.events.of(encoding, is_deflated),
            Dialect::Bridge => self.bridge.of(is_deflated),
        }
    }
}

/// What a connection speaks, fixed for its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// The events protocol, encoded so.
    Events(events::Encoding),
    /// The bridge protocol.
    Bridge,
}
