//! `/debug/echo`: every message is sent back unchanged. For tests and measurements.

use std::rc::Rc;

use hyper::Request;

use crate::config::{Config, Debug};
use crate::conn::{
    Admission, Claimed, Dialect, Flow, Quota, Record, Registry, Route, Session, WebSocketClaim,
    agree, check_upgrade, take_slot,
};
use crate::engine::{Format, Outcome, Publication};
use crate::http::{Source, refuse};
use crate::id::{FormatId, Gather, PeerId, Priority, UserKey};
use crate::service::Endpoint;
use crate::shard::{ConnectionInfo, Shard};
use crate::ws::Payload;

/// The echo protocol.
#[derive(Debug)]
pub struct Echo {
    format: FormatId,
    settings: Debug,
}

impl Echo {
    /// Registers a format that is never used, since an echo subscribes to nothing.
    pub fn register(config: &Config, registry: &mut Registry) -> Box<dyn Dialect> {
        Box::new(Self {
            format: registry
                .formats
                .register(Gather::Each, false, |_| Box::new(NoFormat)),
            settings: config.debug.clone(),
        })
    }
}

impl Dialect for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn route(&self, path: &str) -> Option<Route> {
        (path == "/debug/echo").then_some(match self.settings.echo {
            true => Route::Connection,
            false => Route::Disabled,
        })
    }

    fn openapi(&self) -> &'static str {
        include_str!("echo/openapi.json")
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        match self.settings.echo {
            true => vec![Endpoint::claimed("/debug/echo")],
            false => Vec::new(),
        }
    }

    fn claim(
        &self,
        shard: &Rc<Shard>,
        request: &Request<()>,
        source: Source,
    ) -> Admission<Claimed> {
        let upgrade = check_upgrade(shard, request, |status, why, headers| {
            Box::new(refuse(status, why, headers))
        })?;
        let slot = take_slot(shard, source.address)?;
        let (head, agreed) = agree(shard, &upgrade, true);
        Ok(Claimed::WebSocket(Box::new(WebSocketClaim {
            head,
            agreed,
            message_bytes_max: self.settings.echo_max_message_size,
            record: Record {
                format: self.format,
                user: UserKey::NONE,
                session: Box::new(EchoSession),
                slot,
                info: Some(ConnectionInfo::new(source, &("echo", ""), None)),
                lease: None,
                quota: Quota::default(),
            },
        })))
    }
}

#[derive(Debug)]
struct EchoSession;

impl Session for EchoSession {
    fn begin(&mut self, _: &Shard, _: PeerId) -> Flow {
        Flow::Continue
    }

    fn message(&mut self, shard: &Shard, peer: PeerId, payload: Payload<'_>) -> Flow {
        shard.send(peer, Priority::Normal, payload.opcode(), payload.bytes());
        Flow::Continue
    }

    fn outcome(&mut self, _: &Shard, _: PeerId, _: Outcome) {}
}

#[derive(Debug)]
struct NoFormat;

impl Format for NoFormat {
    fn encode(&mut self, _: &Publication<'_>, _: u64, _: &mut Vec<u8>) {}
}
