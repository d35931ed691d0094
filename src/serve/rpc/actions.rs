//! `ActionService`: actions as they happen.

use tonic::{Request, Response, Status, Streaming};

use super::action_recorder::{ActionRecorder, AgeLimit, Results, StatusCounts};
use crate::wire::v1;
use crate::wire::v1::action_service_server::ActionService;

/// The service.
pub(crate) struct Service {
    pub(crate) recorder: ActionRecorder,
}

#[tonic::async_trait]
impl ActionService for Service {
    async fn record_actions(
        &self,
        request: Request<v1::RecordActionsRequest>,
    ) -> Result<Response<v1::RecordActionsResponse>, Status> {
        let actions = request.into_inner().actions;
        let recorded = self.recorder.record(actions, AgeLimit::Retention).await;
        let Results { statuses, token } = recorded?;
        Ok(Response::new(v1::RecordActionsResponse {
            results: statuses.into_iter().map(i32::from).collect(),
            freshness_token: token.to_bytes(),
        }))
    }

    async fn feed_actions(
        &self,
        request: Request<Streaming<v1::FeedActionsRequest>>,
    ) -> Result<Response<v1::FeedActionsResponse>, Status> {
        let mut requests = request.into_inner();
        let mut counts = StatusCounts::default();
        let mut last = None;
        while let Some(request) = requests.message().await? {
            let recorded = self.recorder.record(request.actions, AgeLimit::Retention);
            let Results { statuses, token } = recorded.await?;
            counts.add(&statuses);
            last = Some(token);
        }
        Ok(Response::new(v1::FeedActionsResponse {
            counts: counts.into_messages(),
            freshness_token: last.map_or_else(Vec::new, |token| token.to_bytes()),
        }))
    }
}
