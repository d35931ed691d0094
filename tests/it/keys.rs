//! Users and pins that are called by strings, at the prompt: what the commands send, and
//! what they show. The server here only keeps what it is asked, and answers the same.

use std::fs::{self, File};
use std::sync::{Arc, Mutex};

use crate::common::process::{command, path, refusal, run};
use arrow_array::cast::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pinnersage::model::{PinId, UserId};
use pinnersage::wire::v1;
use pinnersage::wire::v1::action_service_server::{ActionService, ActionServiceServer};
use pinnersage::wire::v1::catalog_service_server::{CatalogService, CatalogServiceServer};
use pinnersage::wire::v1::recommendation_service_server::{
    RecommendationService, RecommendationServiceServer,
};
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

const USER: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

/// What was asked so far.
#[derive(Default)]
struct Asked {
    recommend: Vec<v1::RecommendRequest>,
    similar: Vec<v1::SimilarPinsRequest>,
    explain: Vec<v1::ExplainUserRequest>,
    record: Vec<v1::Action>,
    delete: Vec<v1::DeletePinsRequest>,
}

#[derive(Clone, Default)]
struct FakeServer(Arc<Mutex<Asked>>);

impl FakeServer {
    /// Serves on a free port, and returns its address.
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tonic::transport::Server::builder()
            .add_service(RecommendationServiceServer::new(self.clone()))
            .add_service(ActionServiceServer::new(self.clone()))
            .add_service(CatalogServiceServer::new(self.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(server);
        format!("http://{address}")
    }

    fn asked(&self) -> Asked {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }
}

#[tonic::async_trait]
impl RecommendationService for FakeServer {
    async fn recommend(
        &self,
        request: Request<v1::RecommendRequest>,
    ) -> Result<Response<v1::RecommendResponse>, Status> {
        let mut asked = self.0.lock().expect("no panic");
        asked.recommend.push(request.into_inner());
        Ok(Response::new(v1::RecommendResponse {
            medoids: vec![v1::SampledMedoid {
                pin_id: PinId::of_key("tea").0,
                pin_key: "tea".to_owned(),
                importance: 1.0,
                ..Default::default()
            }],
            candidates: vec![v1::Candidate {
                pin_id: PinId::of_key("pot\u{1b}").0,
                pin_key: "pot\u{1b}".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        }))
    }

    async fn batch_recommend(
        &self,
        _: Request<v1::BatchRecommendRequest>,
    ) -> Result<Response<v1::BatchRecommendResponse>, Status> {
        Err(Status::unimplemented("no command calls it"))
    }

    async fn get_user_features(
        &self,
        _: Request<v1::GetUserFeaturesRequest>,
    ) -> Result<Response<v1::GetUserFeaturesResponse>, Status> {
        Err(Status::unimplemented("no command calls it"))
    }

    async fn similar_pins(
        &self,
        request: Request<v1::SimilarPinsRequest>,
    ) -> Result<Response<v1::SimilarPinsResponse>, Status> {
        let request = request.into_inner();
        let unknown_pin_keys = request.pin_keys.clone();
        let mut asked = self.0.lock().expect("no panic");
        asked.similar.push(request);
        Ok(Response::new(v1::SimilarPinsResponse {
            candidates: vec![v1::Candidate {
                pin_id: PinId::of_key("pot\u{1b}").0,
                pin_key: "pot\u{1b}".to_owned(),
                ..Default::default()
            }],
            unknown_pin_keys,
            ..Default::default()
        }))
    }

    async fn list_attributes(
        &self,
        _: Request<v1::ListAttributesRequest>,
    ) -> Result<Response<v1::ListAttributesResponse>, Status> {
        Err(Status::unimplemented("no test here calls it"))
    }

    async fn explain_user(
        &self,
        request: Request<v1::ExplainUserRequest>,
    ) -> Result<Response<v1::ExplainUserResponse>, Status> {
        let mut asked = self.0.lock().expect("no panic");
        asked.explain.push(request.into_inner());
        Ok(Response::new(v1::ExplainUserResponse {
            interests: vec![v1::Interest {
                pin_id: PinId::of_key("tea").0,
                pin_key: "tea".to_owned(),
                title: "a cup".to_owned(),
                in_catalog: true,
                ..Default::default()
            }],
            ..Default::default()
        }))
    }
}

#[tonic::async_trait]
impl ActionService for FakeServer {
    async fn record_actions(
        &self,
        request: Request<v1::RecordActionsRequest>,
    ) -> Result<Response<v1::RecordActionsResponse>, Status> {
        let actions = request.into_inner().actions;
        let results = vec![v1::ActionStatus::Accepted.into(); actions.len()];
        self.0.lock().expect("no panic").record.extend(actions);
        Ok(Response::new(v1::RecordActionsResponse {
            results,
            ..Default::default()
        }))
    }

    async fn feed_actions(
        &self,
        _: Request<Streaming<v1::FeedActionsRequest>>,
    ) -> Result<Response<v1::FeedActionsResponse>, Status> {
        Err(Status::unimplemented("no command calls it"))
    }
}

#[tonic::async_trait]
impl CatalogService for FakeServer {
    type ListChangesStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::ListChangesResponse, Status>>>;

    async fn upsert_pins(
        &self,
        _: Request<v1::UpsertPinsRequest>,
    ) -> Result<Response<v1::UpsertPinsResponse>, Status> {
        Err(Status::unimplemented("no test here calls it"))
    }

    async fn delete_pins(
        &self,
        request: Request<v1::DeletePinsRequest>,
    ) -> Result<Response<v1::DeletePinsResponse>, Status> {
        let mut asked = self.0.lock().expect("no panic");
        asked.delete.push(request.into_inner());
        Ok(Response::new(v1::DeletePinsResponse::default()))
    }

    async fn list_changes(
        &self,
        _: Request<v1::ListChangesRequest>,
    ) -> Result<Response<Self::ListChangesStream>, Status> {
        let upserted = ["tea", "pot\u{1b}"].map(|key| v1::Pin {
            pin_id: Some(PinId::of_key(key).0),
            pin_key: Some(key.to_owned()),
            embedding: vec![1.0, 0.0],
            ..Default::default()
        });
        let changes = v1::ListChangesResponse {
            upserted: upserted.to_vec(),
            deleted_pin_ids: vec![7],
        };
        Ok(Response::new(tokio_stream::iter(vec![Ok(changes)])))
    }
}

fn json(said: &str) -> Value {
    serde_json::from_str(said).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn users_and_pins_are_asked_for_by_key_and_shown_by_key() {
    let server = FakeServer::default();
    let url = server.start().await;
    let ask = |arguments: &[&str]| run([arguments, &["--server", &url]].concat());

    let recommend = ["recommend", "--user-key", USER, "--exclude", "7"];
    let recommend = [&recommend[..], &["--exclude-key", "cup", "9"]].concat();
    let said = ask(&recommend);
    assert!(said.starts_with(&format!("user {USER}: 1 candidates")));
    assert!(said.contains("[a] tea -"), "{said}");
    assert!(said.contains(r"[a]   pot\u{1b} -"), "{said}");
    let answer = json(&ask(&[&recommend[..], &["--json"]].concat()));
    assert_eq!(answer["user_id"], UserId::of_key(USER).0);
    assert_eq!(answer["user_key"], USER);
    assert_eq!(answer["medoids"][0]["pin_id"], PinId::of_key("tea").0);
    assert_eq!(answer["medoids"][0]["pin_key"], "tea");
    assert_eq!(answer["candidates"][0]["pin_key"], "pot\u{1b}");
    for asked in server.asked().recommend {
        assert_eq!(
            (asked.user_id, asked.user_key.as_deref()),
            (None, Some(USER))
        );
        assert_eq!(asked.exclude_pin_ids, [7]);
        assert_eq!(asked.exclude_pin_keys, ["cup", "9"]);
    }

    let pins = [
        "similar",
        "--pin",
        "8",
        "--pin-key",
        "tea",
        "--user-key",
        USER,
    ];
    let similar = [&pins[..], &["--exclude", "9", "--exclude-key", "cup"]].concat();
    let said = ask(&similar);
    assert!(said.contains("[b] tea (not in the catalog)"), "{said}");
    assert!(said.contains(r"[a]   pot\u{1b} -"), "{said}");
    let answer = json(&ask(&[&similar[..], &["--json"]].concat()));
    assert_eq!(answer["candidates"][0]["pin_key"], "pot\u{1b}");
    let asked = server.asked().similar.remove(0);
    assert_eq!(
        (asked.user_id, asked.user_key.as_deref()),
        (None, Some(USER))
    );
    assert_eq!(
        (&asked.pin_ids[..], &asked.pin_keys[..]),
        (&[8][..], &["tea".to_owned()][..])
    );
    assert_eq!(asked.exclude_pin_ids, [9]);
    assert_eq!(asked.exclude_pin_keys, ["cup"]);

    ask(&[
        "recommend",
        "--seed-pin",
        "7:0.5",
        "8",
        "--seed-pin-key",
        "tea",
        "--only-seeds",
    ]);
    let asked = server.asked().recommend.remove(0);
    let called = |seed: &v1::Seed| (seed.pin_id, seed.pin_key.clone(), seed.weight);
    let seeds: Vec<_> = asked.seeds.iter().map(called).collect();
    let tea = (None, Some("tea".to_owned()), 0.0);
    assert_eq!(seeds, [(Some(7), None, 0.5), (Some(8), None, 1.0), tea]);
    assert_eq!((asked.user_id, asked.user_key.as_deref()), (None, None));
    assert_eq!(asked.seed_mode(), v1::SeedMode::Replace);
    let near = ["recommend", "--user", "7", "--context-pin-key", "tea"];
    ask(&[
        &near[..],
        &["--context-medoids", "2", "--context-strength", "0"],
    ]
    .concat());
    let asked = server.asked().recommend.remove(0);
    assert_eq!(asked.context_pin_key.as_deref(), Some("tea"));
    assert_eq!(
        (asked.context_medoids, asked.context_strength),
        (2, Some(0.0))
    );

    let explain = ["explain", "--user-key", USER];
    let said = ask(&explain);
    assert!(
        said.contains(&format!("user {USER}: 1 interests")),
        "{said}"
    );
    assert!(said.contains("tea a cup"), "{said}");
    let answer = json(&ask(&[&explain[..], &["--json"]].concat()));
    assert_eq!(answer["user_key"], USER);
    assert_eq!(answer["interests"][0]["pin_key"], "tea");
    let asked = server.asked().explain.remove(0);
    assert_eq!(
        (asked.user_id, asked.user_key.as_deref()),
        (None, Some(USER))
    );

    let said = ask(&["record", "--user-key", USER, "--pin-key", "tea", "pot"]);
    assert_eq!(
        said,
        "save of pin tea: ACCEPTED\nsave of pin pot: ACCEPTED\n"
    );
    let recorded = server.asked().record;
    for (action, pin) in recorded.iter().zip(["tea", "pot"]) {
        assert_eq!((action.user_id, action.pin_id), (None, None));
        assert_eq!(action.user_key.as_deref(), Some(USER));
        assert_eq!(action.pin_key.as_deref(), Some(pin));
    }
    ask(&["record", "--user", "7", "--pin", "8"]);
    let recorded = server.asked().record.remove(0);
    assert_eq!((recorded.user_id, recorded.pin_id), (Some(7), Some(8)));
    assert_eq!((recorded.user_key, recorded.pin_key), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn changed_pins_are_named_by_key() {
    let server = FakeServer::default();
    let url = server.start().await;
    let ask = |arguments: &[&str]| run([arguments, &["--server", &url]].concat());
    let delete = ["pins", "delete", "9", "--pin-key", "tea", "9", "tea"];
    let said = ask(&delete);
    assert!(said.starts_with("3 pins deleted"), "{said}");
    let asked = server.asked().delete.remove(0);
    assert_eq!(asked.pin_ids, [9]);
    assert_eq!(asked.pin_keys, ["9", "tea"]);

    let listed = ask(&["pins", "list"]);
    let expected = [
        "pin        change    title",
        "tea        upserted  -",
        r"pot\u{1b}  upserted  -",
        "7          deleted",
        "2 pins upserted, 1 deleted",
    ];
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);

    let directory = tempfile::tempdir().expect("a directory");
    ask(&["catalog", "changes", "--out", path(directory.path())]);
    let file = File::open(directory.path().join("upserted.parquet")).expect("a file");
    let rows = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build);
    let rows = rows.expect("a reader").next().expect("rows").expect("rows");
    let keys = rows.column_by_name("pin_id").expect("a column");
    let keys: Vec<_> = keys.as_string::<i32>().iter().flatten().collect();
    assert_eq!(keys, ["tea", "pot\u{1b}"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_of_requests_may_have_keys() {
    let server = FakeServer::default();
    let url = server.start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let users = directory.path().join("users");
    let diff = ["diff", "--baseline", &url, "--candidate", &url];
    let diff = [&diff[..], &["--users", path(&users)]].concat();
    for text in [
        r#"[{"user_key":"user-1"},{"user_id":"7"}]"#,
        "{\"user_key\":\"user-1\"}\n7\n",
    ] {
        fs::write(&users, text).expect("a file");
        let said = run(&diff);
        assert!(said.contains("2 of 2 requests"), "{said}");
        let asked = server.asked().recommend;
        let keys: Vec<_> = asked.iter().map(|ask| ask.user_key.as_deref()).collect();
        let key = Some("user-1");
        assert_eq!(keys, [key, key, None, None]);
        assert_eq!((asked[0].user_id, asked[3].user_id), (None, Some(7)));
    }
    fs::write(&users, "user-1\n").expect("a file");
    let said = refusal(&mut command(&diff));
    assert!(said.contains("\"user-1\""), "{said}");
}

#[test]
fn one_of_id_and_key_is_asked_for() {
    for arguments in [
        &["recommend"][..],
        &["recommend", "--user", "7", "--user-key", "user-1"],
        &["explain", "--user", "user-1"],
        &["record", "--user-key", "user-1"],
        &["pins", "delete"],
    ] {
        let said = refusal(&mut command(arguments));
        assert!(said.contains("--help"), "{said}");
    }
}
