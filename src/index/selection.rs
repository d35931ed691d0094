//! The pins of a catalog that a filter selects, found once and kept for further calls.

use std::sync::Arc;

use fixedbitset::FixedBitSet;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::PinTable;
use super::attribute_table::{AttributeTable, DamagedAttribute};
use crate::model::{Filter, PinId};

/// Bytes of a selection beside its bits, and of its place in a cache.
const OVERHEAD: u64 = 256;
/// Selections that a cache makes room for at its beginning.
const USUAL_SELECTIONS: usize = 64;

/// The pins of a catalog that a filter selects.
#[derive(Debug)]
pub struct Selection {
    filter: Filter,
    /// By position in the table of pins.
    positions: FixedBitSet,
    /// The nodes that hold one of these pins.
    nodes: FixedBitSet,
    pins: usize,
}

impl Selection {
    /// Evaluates `filter` over all of `pins`.
    ///
    /// # Errors
    ///
    /// The files of an attribute are damaged.
    pub fn new(
        filter: &Filter,
        attributes: &AttributeTable,
        pins: &PinTable,
    ) -> Result<Self, DamagedAttribute> {
        let positions = attributes.select(filter)?;
        let mut nodes = FixedBitSet::with_capacity(pins.vectors().len());
        positions
            .ones()
            .for_each(|position| nodes.insert(pins.node(position)));
        Ok(Self {
            filter: filter.clone(),
            pins: positions.count_ones(..),
            positions,
            nodes,
        })
    }

    /// Number of selected pins.
    pub fn pins(&self) -> usize {
        self.pins
    }

    /// Share of the pins that are selected, in [0, 1].
    pub fn selectivity(&self) -> f64 {
        self.pins as f64 / self.positions.len().max(1) as f64
    }

    /// Whether the pin `pin` of the table `pins` is selected.
    #[inline]
    pub fn selects(&self, pin: PinId, pins: &PinTable) -> bool {
        let position = pins.position(pin);
        position.is_some_and(|position| self.has_position(position))
    }

    /// Positions of the selected pins in the table, ascending.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.positions.ones()
    }

    /// Whether the pin at `position` is selected.
    pub(super) fn has_position(&self, position: usize) -> bool {
        self.positions.contains(position)
    }

    /// Whether `node` holds a selected pin.
    #[inline]
    pub(super) fn has_node(&self, node: u32) -> bool {
        self.nodes.contains(node as usize)
    }

    /// The nodes that hold selected pins, ascending.
    pub(super) fn nodes(&self) -> impl Iterator<Item = u32> {
        self.nodes.ones().map(|node| node as u32)
    }
}

/// The selections of one catalog by filter, up to a number of bytes.
#[derive(Debug)]
pub(super) struct SelectionCache(Cache<Filter, Arc<Selection>, SelectionWeight>);

#[derive(Clone, Debug)]
struct SelectionWeight;

impl Weighter<Filter, Arc<Selection>> for SelectionWeight {
    fn weight(&self, _: &Filter, selection: &Arc<Selection>) -> u64 {
        let bits = selection.positions.len() + selection.nodes.len();
        // The filter is there twice: it is the key as well.
        let filters = 2 * selection.filter.bytes();
        OVERHEAD + (bits.div_ceil(8) + filters) as u64
    }
}

impl SelectionCache {
    /// A cache of at most `bytes`.
    pub(super) fn new(bytes: u64) -> Self {
        Self(Cache::with_weighter(
            USUAL_SELECTIONS,
            bytes,
            SelectionWeight,
        ))
    }

    /// The selection of `filter`, if it was evaluated before.
    pub(super) fn get(&self, filter: &Filter) -> Option<Arc<Selection>> {
        self.0.get(filter)
    }

    /// The selection of `filter`. It is evaluated once, however many calls ask for it.
    pub(super) fn get_or_select(
        &self,
        filter: &Filter,
        attributes: &AttributeTable,
        pins: &PinTable,
    ) -> Result<Arc<Selection>, DamagedAttribute> {
        self.0.get_or_insert_with(filter, || {
            Selection::new(filter, attributes, pins).map(Arc::new)
        })
    }
}
