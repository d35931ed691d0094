//! Where an answer stands among the pages of a session, as the request says.

use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use super::page_token::{PageToken, VersionHashes};
use crate::model::PinId;
use crate::recommend::Recommendation;
use crate::serve::request_limits::PAGE_TOKEN;
use crate::serve::state::Loaded;
use crate::serve::status::CallError;
use crate::wire::v1;

const FIELD: &str = "page_token";

/// Where an answer stands among the pages of a session.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Page {
    /// Fingerprint of what stays the same from page to page; none where the request asks for
    /// no pages.
    request: Option<u64>,
    /// None on the first page.
    token: Option<PageToken>,
}

/// Which call has the pages: its number is a part of the fingerprint.
#[derive(Clone, Copy)]
enum PagedCall {
    Recommend = 1,
    SimilarPins = 2,
}

impl Page {
    /// The page that `request` asks for. It must be as the caller sent it: what a surface fills
    /// in may change between two pages.
    pub(crate) fn of_recommend(request: &v1::RecommendRequest) -> Result<Self, CallError> {
        let fingerprint = || {
            let same = v1::RecommendRequest {
                limit: 0,
                seed: None,
                exclude_pin_ids: Vec::new(),
                exclude_pin_keys: Vec::new(),
                freshness_token: Vec::new(),
                include_titles: false,
                response_format: 0,
                paged: false,
                page_token: Vec::new(),
                boost_time: None,
                arm: String::new(),
                ..request.clone()
            };
            fingerprint(PagedCall::Recommend, &same)
        };
        let page = Self::new(request.paged, &request.page_token, fingerprint)?;
        match (page.seed(), request.seed) {
            (Some(own), Some(given)) if own != given => Err(of_another_request()),
            _ => Ok(page),
        }
    }

    /// The same of a call that asks for pins like others.
    pub(crate) fn of_similar_pins(request: &v1::SimilarPinsRequest) -> Result<Self, CallError> {
        let fingerprint = || {
            let same = v1::SimilarPinsRequest {
                limit: 0,
                exclude_pin_ids: Vec::new(),
                exclude_pin_keys: Vec::new(),
                freshness_token: Vec::new(),
                include_titles: false,
                paged: false,
                page_token: Vec::new(),
                boost_time: None,
                arm: String::new(),
                ..request.clone()
            };
            fingerprint(PagedCall::SimilarPins, &same)
        };
        Self::new(request.paged, &request.page_token, fingerprint)
    }

    fn new(
        paged: bool,
        token: &[u8],
        fingerprint: impl FnOnce() -> u64,
    ) -> Result<Self, CallError> {
        if token.is_empty() {
            let request = paged.then(fingerprint);
            return Ok(Self {
                request,
                token: None,
            });
        }
        PAGE_TOKEN.check(FIELD, token.len())?;
        let token = PageToken::from_bytes(token)
            .ok_or_else(|| CallError::field(FIELD, "is not as a server gave it out"))?;
        if token.request != fingerprint() {
            return Err(of_another_request());
        }
        Ok(Self {
            request: Some(token.request),
            token: Some(token),
        })
    }

    /// Number of the page, from 0.
    pub(crate) fn number(&self) -> u64 {
        self.token.as_ref().map_or(0, |token| token.page)
    }

    /// The seed of the pages before; none on the first page.
    pub(crate) fn seed(&self) -> Option<u64> {
        self.token.as_ref().map(|token| token.seed)
    }

    /// Ascending: the candidates of all pages before.
    pub(crate) fn pins_before(&self) -> &[PinId] {
        self.token.as_ref().map_or(&[], |token| &token.pins)
    }

    /// Ascending: the medoids that the pages before have drawn in this round.
    pub(crate) fn drawn_before(&self) -> &[PinId] {
        self.token.as_ref().map_or(&[], |token| &token.drawn)
    }

    /// Whether the page before was answered from other versions.
    pub(crate) fn has_other_versions(&self, loaded: &Loaded) -> bool {
        let mut token = self.token.iter();
        token.any(|token| token.versions != hashes(loaded))
    }

    /// The token of the page after this one, with this answer. Empty where the request asks for
    /// no pages, and where the session has had too many candidates.
    pub(crate) fn next_token(
        &self,
        recommendation: &Recommendation,
        seed: u64,
        loaded: &Loaded,
    ) -> Vec<u8> {
        let Some(request) = self.request else {
            return Vec::new();
        };
        let candidates = recommendation.candidates.iter();
        let candidates = candidates.map(|candidate| candidate.pin);
        let mut pins = self.pins_before().to_vec();
        pins.extend(candidates);
        pins.sort_unstable();
        pins.dedup();
        let token = PageToken {
            request,
            seed,
            versions: hashes(loaded),
            page: self.number().saturating_add(1),
            drawn: recommendation.drawn(self.drawn_before()),
            pins,
        };
        token.to_bytes().unwrap_or_default()
    }
}

fn of_another_request() -> CallError {
    let reason = "belongs to another request: only its limit, exclusions, freshness token, boost \
                  time, titles, format and arm may change from page to page";
    CallError::field(FIELD, reason)
}

/// A number for all that stays the same from page to page, in any server of one version. A
/// field that is new is a part of it unless it is said not to be.
fn fingerprint(call: PagedCall, same: &impl Message) -> u64 {
    let mut bytes = vec![call as u8];
    // Memory grows as it is needed, so there is always room.
    let _ = same.encode(&mut bytes);
    xxh3_64(&bytes)
}

fn hashes(loaded: &Loaded) -> VersionHashes {
    let hash = |version: &str| xxh3_64(version.as_bytes());
    VersionHashes {
        catalog: hash(&loaded.catalog().manifest().version),
        profiles: hash(&loaded.profiles().manifest().version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_of(page: &Page) -> Vec<u8> {
        let token = PageToken {
            request: page.request.expect("pages"),
            seed: 9,
            versions: VersionHashes {
                catalog: 1,
                profiles: 2,
            },
            page: 3,
            drawn: vec![PinId(4)],
            pins: vec![PinId(5), PinId(6)],
        };
        token.to_bytes().expect("few pins")
    }

    fn request() -> v1::RecommendRequest {
        v1::RecommendRequest {
            user_id: Some(7),
            medoids: 3,
            paged: true,
            ..Default::default()
        }
    }

    fn refusal(page: Result<Page, CallError>) -> String {
        match page {
            Err(CallError::Field { field, reason }) => format!("{field} {reason}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_without_pages_has_no_place_among_them() {
        let none = v1::RecommendRequest {
            paged: false,
            ..request()
        };
        assert_eq!(Page::of_recommend(&none), Ok(Page::default()));
        let first = Page::of_recommend(&request()).expect("a page");
        assert!(first.request.is_some() && first.token.is_none());
        assert_eq!((first.number(), first.seed()), (0, None));
    }

    #[test]
    fn what_may_change_from_page_to_page_changes_nothing_and_all_else_is_another_request() {
        let first = Page::of_recommend(&request()).expect("a page");
        let token = token_of(&first);
        let next = |change: fn(&mut v1::RecommendRequest)| {
            let mut request = v1::RecommendRequest {
                page_token: token.clone(),
                ..request()
            };
            change(&mut request);
            Page::of_recommend(&request)
        };
        let same: [fn(&mut v1::RecommendRequest); 10] = [
            |_| {},
            |r| r.paged = false,
            |r| r.limit = 9,
            |r| r.exclude_pin_ids = vec![1],
            |r| r.exclude_pin_keys = vec!["tea".to_owned()],
            |r| r.freshness_token = vec![1],
            |r| r.include_titles = true,
            |r| r.set_response_format(v1::ResponseFormat::Columns),
            |r| r.boost_time = Some(prost_types::Timestamp::default()),
            |r| r.arm = "new".to_owned(),
        ];
        for change in same {
            let page = next(change).expect("the next page");
            assert_eq!((page.number(), page.seed()), (3, Some(9)));
            assert_eq!(page.pins_before(), [PinId(5), PinId(6)]);
            assert_eq!(page.drawn_before(), [PinId(4)]);
        }
        assert!(next(|r| r.seed = Some(9)).is_ok());
        let other: [fn(&mut v1::RecommendRequest); 11] = [
            |r| r.seed = Some(8),
            |r| r.user_id = Some(8),
            |r| r.user_key = Some("tea".to_owned()),
            |r| r.medoids = 4,
            |r| r.top_medoids = 1,
            |r| r.set_merge_strategy(v1::MergeStrategy::GlobalTop),
            |r| r.seeds = vec![v1::Seed::default()],
            |r| r.context_pin_id = Some(1),
            |r| r.filter = Some(v1::Filter::default()),
            |r| r.boosts = vec![v1::Boost::default()],
            |r| r.surface = "homefeed".to_owned(),
        ];
        for change in other {
            let refused = refusal(next(change));
            assert!(refused.starts_with("page_token belongs to another request"));
        }
    }

    #[test]
    fn a_token_of_another_call_or_of_nothing_is_refused() {
        let token = token_of(&Page::of_recommend(&request()).expect("a page"));
        let similar = v1::SimilarPinsRequest {
            page_token: token.clone(),
            ..Default::default()
        };
        let refused = refusal(Page::of_similar_pins(&similar));
        assert!(refused.starts_with("page_token belongs to another request"));
        let with = |page_token: Vec<u8>| {
            let request = v1::RecommendRequest {
                page_token,
                ..request()
            };
            refusal(Page::of_recommend(&request))
        };
        assert_eq!(with(vec![1]), "page_token is not as a server gave it out");
        assert_eq!(
            with(vec![1; PAGE_TOKEN.max + 1]),
            "page_token has 65537 bytes, at most 65536 may be"
        );
        assert!(with(token[1..].to_vec()).contains("not as a server"));
    }
}
