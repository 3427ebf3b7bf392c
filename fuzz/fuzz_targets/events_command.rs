//! A client's message is understood or refused, and what is understood is JSON: the data of a
//! publication is passed on as it came, so it must not be able to break out of its frame.

use fanfare::dialect::events::{Action, Command, Writer};
use fanfare::engine::{Publication, PublicationKind};
use fanfare::id::Form;

const TIMESTAMP: &[u8] = b"2026-11-21T07:34:31.524Z";

pub fn run(text: &str) {
    let mut out = Vec::new();
    match Command::parse(text) {
        Ok(command) => {
            if let Action::Publish { data, .. } = command.action {
                let publication = Publication {
                    kind: PublicationKind::Event,
                    form: Form::NEUTRAL,
                    topic: "t",
                    name: "t",
                    data: data.as_bytes(),
                    publisher: "",
                    epoch: 1,
                    offset: 1,
                };
                Writer::new(&mut out, TIMESTAMP).event(&publication);
                let event: Event = serde_json::from_slice(&out).expect("an event is JSON");
                assert_eq!(event.data.get(), data);
            }
        }
        Err(refusal) => {
            Writer::new(&mut out, TIMESTAMP).error(&refusal);
            serde_json::from_slice::<serde::de::IgnoredAny>(&out).expect("an error is JSON");
        }
    }
}

#[derive(serde::Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    data: &'a serde_json::value::RawValue,
}
