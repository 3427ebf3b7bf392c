//! Queries of upgrade requests are understood or refused, whatever they are; what is understood is within
//! its limits.

use fanfare::dialect::bridge::user_of;
use fanfare::dialect::events::Parameters;
use fanfare::sse::EventsRequest;
use fanfare::topic;

pub fn run(query: &str) {
    if let Ok(Some(user)) = user_of(query) {
        assert!((1..=topic::NAME_BYTES_MAX).contains(&user.len()));
        let inbox = topic::inbox_of(&user);
        assert_eq!(topic::user_of(&inbox), Some(user.clone()));
        assert!(topic::is_inbox_of(&user, &inbox) && topic::check_prefix(&inbox).is_ok());
        assert_eq!(
            user_of(&format!("{query}&user_id={user}x&user_id=y")),
            Err("`user_id` is given twice, and not the same")
        );
    }
    if let Ok(parameters) = Parameters::parse(query) {
        assert_eq!(
            Parameters::parse(&format!("{query}&other=1")),
            Ok(parameters)
        );
    }
    if let Ok(request) = EventsRequest::read(query, None, 50) {
        assert!(request.topics.is_sorted() && (1..=50).contains(&request.topics.len()));
        assert!(
            request
                .topics
                .iter()
                .all(|name| topic::check_topic(name).is_ok())
        );
    }
}
