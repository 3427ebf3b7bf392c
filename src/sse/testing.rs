//! An event stream parser after WHATWG HTML 9.2.6, independent of the encoder.

/// A dispatched event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Event {
    /// The last event ID string at that point.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) data: String,
}

#[derive(Default)]
pub(super) struct Parser {
    /// Bytes of an incomplete line.
    line: Vec<u8>,
    begun: bool,
    /// The last byte was a CR: an LF right after it ends no second line.
    after_cr: bool,
    data: String,
    name: String,
    id_buffer: String,
    /// The last event ID string.
    pub(super) last_id: String,
    pub(super) retry_ms: Option<u64>,
}

impl Parser {
    /// Parses a piece of the stream and returns the events that it completes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            let was_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if was_cr => {}
                b'\r' | b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    let mut line = String::from_utf8_lossy(&line).into_owned();
                    // One leading BOM is not part of the stream.
                    if !std::mem::replace(&mut self.begun, true)
                        && let Some(rest) = line.strip_prefix('\u{feff}')
                    {
                        line = rest.to_owned();
                    }
                    events.extend(self.line(&line));
                }
                _ => self.line.push(byte),
            }
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match line.split_once(':') {
            Some(("", _)) => return None,
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (line, ""),
        };
        match field {
            "event" => self.name = value.to_owned(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id_buffer = value.to_owned(),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok();
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        self.last_id.clone_from(&self.id_buffer);
        let (data, name) = (
            std::mem::take(&mut self.data),
            std::mem::take(&mut self.name),
        );
        if data.is_empty() {
            return None;
        }
        Some(Event {
            id: self.last_id.clone(),
            name: if name.is_empty() {
                "message".to_owned()
            } else {
                name
            },
            data: data.strip_suffix('\n').unwrap_or(&data).to_owned(),
        })
    }
}
