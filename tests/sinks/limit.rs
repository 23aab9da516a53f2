//! The limit that holds if nobody sets another one. This takes as long as the limit, for all sinks at once.

use std::time::Instant;

use enclave_operator::sinks::{
    DELIVERY_LIMIT, EventSink, HttpSink, Message, MessageSink, Secret, SlackSettings, SlackSink,
    SmtpSettings, SmtpSink, StdoutSink,
};
use serde_json::json;

use crate::in_time;
use crate::servers::{plain, silent};

#[tokio::test]
async fn every_delivery_ends_within_ten_seconds() {
    in_time(async {
        let url = format!("http://127.0.0.1:{}/", silent());
        // Nobody reads from this pipe.
        let (_reader, writer) = std::io::pipe().unwrap();
        let events = [
            EventSink::Http(HttpSink::new(plain(&url)).unwrap()),
            EventSink::Stdout(StdoutSink::writing_to(writer).unwrap()),
        ];
        let messages = [
            MessageSink::Slack(SlackSink::new(&SlackSettings { url: Secret::from(url), ca: None }).unwrap()),
            MessageSink::Smtp(
                SmtpSink::new(&SmtpSettings {
                    url: Secret::from(format!("smtp://127.0.0.1:{}", silent())),
                    from: "operator@example.com".to_owned(),
                    to: vec!["alice@example.com".to_owned()],
                    ca: None,
                })
                .unwrap(),
            ),
        ];
        let event = json!({ "data": "x".repeat(1 << 20) });
        let message = Message::new("subject", "text");
        let start = Instant::now();
        let events = futures::future::join_all(events.iter().map(|sink| sink.deliver(&event)));
        let messages = futures::future::join_all(messages.iter().map(|sink| sink.deliver(&message)));
        let (events, messages) = futures::join!(events, messages);
        let took = start.elapsed();
        for result in events.into_iter().chain(messages) {
            assert_eq!(result.unwrap_err().category(), "TimedOut");
        }
        assert!(took >= DELIVERY_LIMIT && took < DELIVERY_LIMIT * 2, "{took:?}");
    })
    .await;
}
