//! Drops changes of pins that catalogs have, so that the control stream does not grow with each
//! pin that ever changed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::error::LogError;
use super::super::frames::encode_pin_change;
use super::super::positions::Position;
use super::super::records::PinChange;
use super::erase::delete;
use super::fetch::raw;
use super::link::Question;
use super::shared::Shared;

const PATIENCE: Duration = Duration::from_millis(500);

/// Deletes the last change of each pin, where it is still the one of `changes`. A change that
/// has come since has another number, and stays.
pub(super) async fn settle(shared: Arc<Shared>, changes: Vec<PinChange>) -> Result<(), LogError> {
    shared.opened(shared.params.append_timeout).await?;
    let control = shared.names.control();
    let name = shared.names.stream(control);
    for change in &changes {
        let subject = shared.names.pin_subject(change.0);
        let body = json!({ "last_by_subj": subject }).to_string();
        let question = Question::new(format!("$JS.API.DIRECT.GET.{name}"), body);
        let link = shared.links.pick(shared.links.turn());
        let last = link.request(question, PATIENCE).await;
        let last = last.map_err(|reason| shared.unreachable(format!("{name}: {reason}")))?;
        if last.payload[..] != encode_pin_change(change)[..] {
            continue;
        }
        let Some(sequence) = raw(&shared, last).map(|raw| raw.position.sequence) else {
            continue;
        };
        let position = Position {
            stream: control,
            sequence,
        };
        delete(&shared, position).await?;
    }
    Ok(())
}
