//! The subscribers of a run and their topics.

use crate::cli::{Load, Scenario};
use crate::payload::Random;
use crate::verify::Shape;

/// What a subscriber does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberKind {
    /// Must get every message.
    Complete,
    /// Connects and disconnects.
    Passing,
    /// Stops reading.
    Slow,
}

/// One subscribing connection.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) kind: MemberKind,
    pub(crate) replica: usize,
    pub(crate) topics: Vec<u32>,
}

/// All subscribers of a run.
#[derive(Debug)]
pub(crate) struct FanoutPlan {
    pub(crate) shape: Shape,
    pub(crate) names: Vec<String>,
    pub(crate) members: Vec<Member>,
}

impl FanoutPlan {
    /// The plan and the load of a fan-out scenario; `None` for other scenarios.
    pub(crate) fn of(scenario: &Scenario, seed: u64) -> Option<(Self, Load)> {
        let (topics, per_connection, complete, passing, slow, load) = match scenario {
            Scenario::Fanout(fanout) => (1, 1, fanout.subscribers, 0, 0, &fanout.load),
            Scenario::Wse(wse) => (1, 1, wse.subscribers, 0, 0, &wse.load),
            Scenario::Churn(churn) => (1, 1, churn.subscribers, churn.passing, 0, &churn.load),
            Scenario::Slow(slow) => (1, 1, slow.subscribers, 0, slow.slow, &slow.load),
            Scenario::Topics(topics) => (
                topics.topics as usize,
                usize::from(topics.subs_per_conn),
                topics.subscribers,
                0,
                0,
                &topics.load,
            ),
            _ => return None,
        };
        let shape = Shape {
            topics,
            publishers: usize::from(load.publishers),
            complete,
            passing,
            slow,
        };
        // Names of one length let data start at the same byte in all events.
        let width = (topics - 1).to_string().len();
        let names = (0..topics)
            .map(|topic| format!("{}{topic:0width$}", load.topic))
            .collect();
        let mut random = Random::new(seed);
        let mut members = Vec::new();
        for replica in 0..shape.replicas() {
            let kind = if replica < complete {
                MemberKind::Complete
            } else if replica < complete + passing {
                MemberKind::Passing
            } else {
                MemberKind::Slow
            };
            // Every replica assigns the topics to its members differently.
            let mut all: Vec<u32> = (0..topics as u32).collect();
            random.shuffle(&mut all);
            members.extend(all.chunks(per_connection).map(|topics| Member {
                kind,
                replica,
                topics: topics.to_vec(),
            }));
        }
        let plan = Self {
            shape,
            names,
            members,
        };
        Some((plan, load.clone()))
    }

    /// The topics of a member.
    pub(crate) fn names_of(&self, member: usize) -> impl Iterator<Item = &str> {
        let topics = self.members[member].topics.iter();
        topics.map(|&topic| &*self.names[topic as usize])
    }

    /// The member that subscribes to each (replica, topic), replica by replica.
    pub(crate) fn owners(&self) -> Vec<u32> {
        let mut owners = vec![u32::MAX; self.shape.replicas() * self.shape.topics];
        for (number, member) in self.members.iter().enumerate() {
            for &topic in &member.topics {
                owners[member.replica * self.shape.topics + topic as usize] = number as u32;
            }
        }
        owners
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Options;

    fn plan(arguments: &str) -> FanoutPlan {
        let whole = ["loadgen"].into_iter().chain(arguments.split(' '));
        let options = Options::try_parse_from(whole).unwrap();
        FanoutPlan::of(&options.scenario, 1).unwrap().0
    }

    #[test]
    fn every_topic_has_its_subscribers_once_per_replica() {
        let plan = plan("topics --topics 120 --subscribers 3 --subs-per-conn 50");
        assert_eq!(plan.members.len(), 9);
        assert!(plan.members.iter().all(|member| member.topics.len() <= 50));
        assert!(plan.owners().iter().all(|&owner| owner != u32::MAX));
        assert_eq!((&*plan.names[0], &*plan.names[119]), ("t000", "t119"));
    }

    #[test]
    fn slow_and_passing_members_come_after_the_complete_ones() {
        let slow = plan("slow --subscribers 4 --slow 2");
        assert_eq!(slow.members[3].kind, MemberKind::Complete);
        assert_eq!(slow.members[4].kind, MemberKind::Slow);
        let churn = plan("churn --subscribers 1 --passing 1");
        assert_eq!(churn.members[1].kind, MemberKind::Passing);
    }
}
