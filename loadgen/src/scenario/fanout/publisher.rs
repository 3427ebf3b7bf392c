//! One publishing connection of a fan-out.

use crate::events;
use crate::foreign::durable_streams;
use crate::net::{Id, Net};
use crate::payload::{Format, Layout, Random, Source, put_str_header};
use crate::verify::Wire;

/// Sends numbered messages and counts outstanding deliveries.
#[derive(Debug)]
pub(crate) struct FanoutPublisher {
    pub(crate) number: u16,
    pub(crate) id: Id,
    wire: Wire,
    /// Next sequence number by topic.
    next: Vec<u32>,
    /// Topics in the order of publishing, repeated.
    order: Vec<u32>,
    next_in_order: usize,
    /// Deliveries due to complete subscribers.
    pub(crate) outstanding: u64,
}

impl FanoutPublisher {
    pub(crate) fn new(number: u16, id: Id, wire: Wire, topics: usize, random: &mut Random) -> Self {
        let mut order: Vec<u32> = (0..topics as u32).collect();
        random.shuffle(&mut order);
        Self {
            number,
            id,
            wire,
            next: vec![0; topics],
            order,
            next_in_order: 0,
            outstanding: 0,
        }
    }

    /// Messages sent to `topic` so far.
    pub(crate) fn sent(&self, topic: usize) -> u32 {
        self.next[topic]
    }

    /// Sends `burst` messages in one write, all with the send time `sent_ns`.
    pub(crate) fn send(
        &mut self,
        net: &mut Net,
        layout: &Layout,
        names: &[String],
        burst: u32,
        sent_ns: u64,
    ) {
        let (opcode, is_joined) = match self.wire {
            Wire::Foreign(foreign) if foreign.is_http() => {
                return self.append(net, layout, names, burst, sent_ns);
            }
            Wire::Foreign(foreign) => (foreign.publication_opcode(), foreign.joins_publications()),
            _ => (events::message_opcode(layout.format()), false),
        };
        let messages_per_frame = if is_joined { burst } else { 1 };
        for _ in 0..burst / messages_per_frame {
            net.queue(self.id, opcode, |out| {
                for _ in 0..messages_per_frame {
                    self.put(out, layout, names, sent_ns);
                }
            });
        }
        net.flush(self.id);
    }

    /// Sends `burst` messages in one request.
    fn append(
        &mut self,
        net: &mut Net,
        layout: &Layout,
        names: &[String],
        burst: u32,
        sent_ns: u64,
    ) {
        let mut body = vec![b'['];
        for _ in 0..burst {
            self.put(&mut body, layout, names, sent_ns);
            body.push(b',');
        }
        *body.last_mut().expect("it begins with a bracket") = b']';
        net.queue_json(self.id, "POST", &durable_streams::path(&names[0]), &body);
        net.flush(self.id);
    }

    /// Appends the next message.
    fn put(&mut self, out: &mut Vec<u8>, layout: &Layout, names: &[String], sent_ns: u64) {
        let topic = self.order[self.next_in_order];
        self.next_in_order = (self.next_in_order + 1) % self.order.len();
        let next = &mut self.next[topic as usize];
        let sequence = *next;
        *next += 1;
        let source = Source {
            topic,
            publisher: self.number,
        };
        let name = &names[topic as usize];
        match (self.wire, layout.format()) {
            (Wire::Foreign(foreign), _) => {
                foreign.publish(out, name, layout, (source, sequence, sent_ns));
            }
            (_, Format::Json) => {
                out.extend_from_slice(br#"{"type":"publish","event":""#);
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(br#"","data":"#);
                layout.write(out, source, sequence, sent_ns);
                out.push(b'}');
            }
            (_, Format::Msgpack) => {
                // A map of three entries; the literals are its keys and its type.
                out.extend_from_slice(b"\x83\xA4type\xA7publish\xA5event");
                put_str_header(out, name.len());
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\xA4data");
                layout.write(out, source, sequence, sent_ns);
            }
        }
    }
}
