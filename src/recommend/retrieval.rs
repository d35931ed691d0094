//! The retrieval steps of one request: fills the neighbor lists of its targets.

use super::merge_params::MergeParams;
use super::neighbor_list::NeighborList;
use super::retrieve::{NotCached, Retrieve, Retrieved, SearchParams};
use super::seeds::Target;
use super::targets::Targets;

/// The neighbor lists of one request, and how their retrieval went so far.
pub(super) struct Retrieval<'a> {
    index: &'a dyn Retrieve,
    targets: Targets<'a>,
    /// One for each target.
    lists: &'a mut [NeighborList],
    /// Of every search, but for the number of neighbors.
    search: SearchParams<'a>,
    merge: MergeParams<'a>,
    with_less_effort: bool,
    deadline_passed: bool,
}

impl<'a> Retrieval<'a> {
    /// A retrieval that has not begun, into `lists`, one for each of `targets`.
    pub(super) fn new(
        index: &'a dyn Retrieve,
        targets: Targets<'a>,
        lists: &'a mut [NeighborList],
        search: SearchParams<'a>,
        merge: MergeParams<'a>,
    ) -> Self {
        debug_assert_eq!(targets.len(), lists.len());
        Self {
            index,
            targets,
            lists,
            search,
            merge,
            with_less_effort: false,
            deadline_passed: false,
        }
    }

    /// The lists, as far as they are filled.
    pub(super) fn lists(&self) -> &[NeighborList] {
        self.lists
    }

    /// The merge that they are for.
    pub(super) fn merge(&self) -> &MergeParams<'a> {
        &self.merge
    }

    /// Whether searches ran with less than the usual effort.
    pub(super) fn with_less_effort(&self) -> bool {
        self.with_less_effort
    }

    /// Number of lists that were answered, when the deadline passed before all were.
    pub(super) fn answered_in_time(&self) -> Option<usize> {
        let answered = || self.lists.iter().filter(|list| list.is_answered()).count();
        self.deadline_passed.then(answered)
    }

    /// Retrieves each list as deep as a merge of `limit` candidates needs it to begin.
    pub(super) fn begin(&mut self, limit: usize) -> Result<(), NotCached> {
        self.merge.limit = limit;
        for list in 0..self.lists.len() {
            let wanted = self.lists[list].wanted(&self.merge);
            let is_short =
                |list: &NeighborList| list.end.is_open() && list.neighbors.len() < wanted;
            // Other lists may be there without a search when the deadline has passed.
            while is_short(&self.lists[list]) && self.step(list)? {}
        }
        self.cut_if_out_of_time();
        Ok(())
    }

    /// Retrieves `list` deeper than before.
    pub(super) fn deepen(&mut self, list: usize) -> Result<(), NotCached> {
        self.step(list)?;
        self.cut_if_out_of_time();
        Ok(())
    }

    /// When the deadline has passed, all lists end where they are.
    fn cut_if_out_of_time(&mut self) {
        if self.deadline_passed {
            self.lists.iter_mut().for_each(NeighborList::cut);
        }
    }

    /// Retrieves `list` deeper than before. False when the deadline passed first.
    fn step(&mut self, list: usize) -> Result<bool, NotCached> {
        match self.deepen_list(list) {
            Retrieved::Complete => {}
            Retrieved::WithLessEffort => self.with_less_effort = true,
            Retrieved::DeadlinePassed => {
                self.deadline_passed = true;
                return Ok(false);
            }
            Retrieved::NotCached => return Err(NotCached),
        }
        Ok(true)
    }

    fn deepen_list(&mut self, list: usize) -> Retrieved {
        let Self { index, search, .. } = *self;
        let target = self.targets.get(list);
        let list = &mut self.lists[list];
        let depth = list.next_depth(&self.merge);
        list.fill(depth, &self.merge, |k, out| {
            let params = SearchParams {
                k,
                min_k: depth,
                ..search
            };
            match target {
                Target::Pin(pin) => index.neighbors(pin, &params, out),
                Target::Vector(vector) => index.nearest_to_vector(vector, &params, out),
            }
        })
    }
}
