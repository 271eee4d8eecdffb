//! What the page and its worker say to each other.
//!
//! A message is an array: the [`Request`] or [`Event`] as JSON text, then its attachments, which are `File`, `Blob` or
//! `Uint8Array` objects of the browser. Requests are answered in order, except those that act on a running training:
//! they are heard between two steps. Every request but those that control a run ends in the event named with it, or in
//! [`Event::Failed`].

mod event;
mod request;

pub use event::{
    Cause, DataReport, DeviceReport, Event, ModelReport, PlanReport, PreviewRow, StoredModel, UnfinishedRun,
};
pub use request::{DataOptions, DataSource, ModelSource, Request, Settings, Side};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Method;
    use crate::model::Projection;
    use crate::train::{TrainConfig, TrainEvent};

    #[test]
    fn messages_survive_the_way_to_the_other_side() {
        let settings = Settings {
            method: Method::Diablo { blocks: 16 },
            modules: Projection::DEFAULT.to_vec(),
            dropout: 0.0,
            train: TrainConfig::default(),
            prompts: vec!["Who is \u{1f600}?".into()],
        };
        let request = Request::Train { settings };
        let text = serde_json::to_string(&request).unwrap();
        assert!(text.starts_with(&format!(r#"{{"request":"{}","settings":{{"method":{{"#, request.name())), "{text}");
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);

        let step = crate::train::StepReport {
            step: 3,
            loss: 0.1,
            grad_norm: 1e-9,
            learning_rate: 1e-3,
            tokens: 7,
            tokens_per_second: 1.5,
        };
        let event = Event::Training(TrainEvent::Step(step));
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
    }
}
