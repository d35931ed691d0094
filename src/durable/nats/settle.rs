//! Drops changes of pins that catalogs have, so that the control stream does not grow with each
//! pin that ever changed.

use std::sync::Arc;

use super::super::error::LogError;
use super::super::frames::encode_pin_change;
use super::super::records::PinChange;
use super::erase::delete;
use super::fetch::last_of;
use super::shared::Shared;

/// Deletes the last change of each pin, where it is still the one of `changes`. A change that
/// has come since has another number, and stays.
pub(super) async fn settle(shared: Arc<Shared>, changes: Vec<PinChange>) -> Result<(), LogError> {
    shared.opened(shared.params.append_timeout).await?;
    for change in &changes {
        let subject = shared.names.pin_subject(change.0);
        let last = last_of(&shared, &subject).await;
        let last = last.map_err(|reason| shared.unreachable(reason))?;
        let expected = Some(encode_pin_change(change).into());
        if let Some(last) = last.filter(|last| last.payload == expected) {
            delete(&shared, last.position).await?;
        }
    }
    Ok(())
}
