//! The filters and the reranking rules of the models, checked and evaluated over the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model_index::{ModelIndex, SearchedIndex};
use crate::evaluation::error::EvaluateError;
use crate::evaluation::models::Model;
use crate::evaluation::params::EvaluateParams;
use crate::index::{Catalog, DamagedAttribute, Delta, Reranker, Selection};
use crate::model::{Filter, RerankRules, SpacingRule};

/// What filters select and rules go by. [`Shapes`] refer to it.
#[derive(Debug)]
pub(super) struct ShapeParts {
    /// By the name of the filter.
    filters: BTreeMap<String, SelectedPins>,
    /// A catalog does not change while it is replayed.
    no_changes: Delta,
    no_rules: RerankRules,
    /// The spacing rules of all models alone.
    spacing: RerankRules,
}

/// The pins that a filter selects.
#[derive(Debug)]
pub(super) struct SelectedPins {
    selection: Selection,
    /// Their slots, ascending.
    pub(super) slots: Vec<u32>,
}

/// How models ask for candidates.
#[derive(Debug)]
pub(super) struct Shapes<'a> {
    pub(super) models: Vec<ModelShape<'a>>,
    /// What filters select, in the order of their names.
    pub(super) filters: Vec<&'a SelectedPins>,
    /// Knows the keywords of [`Self::spacing`].
    pub(super) keywords: Reranker<'a>,
    /// The spacing rules of all models.
    pub(super) spacing: &'a [SpacingRule],
}

/// How one model asks for candidates.
#[derive(Debug)]
pub(super) struct ModelShape<'a> {
    pub(super) index: ModelIndex<'a>,
    /// Place of its filter among [`Shapes::filters`].
    pub(super) filter: Option<usize>,
    pub(super) reranker: Reranker<'a>,
}

impl ShapeParts {
    /// Evaluates the filters of `params`, and collects their rules.
    ///
    /// # Errors
    ///
    /// A model names what is not there, something is there that no model names, a filter or
    /// rules do not fit the catalog, or an attribute is damaged.
    pub(super) fn new(params: &EvaluateParams, catalog: &Catalog) -> Result<Self, EvaluateError> {
        check_names(params)?;
        check_fit(params, catalog)?;
        let select = |(name, filter): (&String, &Filter)| {
            let selection = Selection::new(filter, &catalog.attributes, &catalog.pins)?;
            let slots = selection.positions().map(|slot| slot as u32).collect();
            Ok((name.clone(), SelectedPins { selection, slots }))
        };
        let filters = params.filters.iter().map(select);
        let mut spacing: Vec<SpacingRule> = Vec::new();
        for rule in params.rerank.values().flat_map(|rules| &rules.spacing) {
            if !spacing.contains(rule) {
                spacing.push(rule.clone());
            }
        }
        Ok(Self {
            filters: filters.collect::<Result<_, DamagedAttribute>>()?,
            no_changes: Delta::new(catalog.pins.vectors()),
            no_rules: RerankRules::default(),
            spacing: RerankRules {
                spacing,
                ..RerankRules::default()
            },
        })
    }
}

impl<'a> Shapes<'a> {
    /// The shapes of the models of `params`, which retrieve from `index` over `catalog`.
    ///
    /// # Errors
    ///
    /// An attribute is damaged.
    pub(super) fn new(
        params: &'a EvaluateParams,
        parts: &'a ShapeParts,
        catalog: &'a Catalog,
        index: &'a SearchedIndex<'a>,
    ) -> Result<Self, EvaluateError> {
        let select = |filter: &Filter| {
            Selection::new(filter, &catalog.attributes, &catalog.pins).map(Arc::new)
        };
        // Each case says anew from when ages count.
        let reranker = |rules: &'a RerankRules| {
            Reranker::new(rules, catalog, &parts.no_changes, params.from, select)
        };
        let model_shape = |model: &Model| {
            let name = model.filter.as_ref();
            let filter = name.and_then(|name| parts.filters.keys().position(|one| one == name));
            let selected = name.and_then(|name| parts.filters.get(name));
            Ok(ModelShape {
                index: ModelIndex {
                    index,
                    selection: selected.map(|pins| &pins.selection),
                },
                filter,
                reranker: reranker(params.rules(model).unwrap_or(&parts.no_rules))?,
            })
        };
        let models = params.models.iter().map(model_shape);
        Ok(Self {
            models: models.collect::<Result<_, DamagedAttribute>>()?,
            filters: parts.filters.values().collect(),
            keywords: reranker(&parts.spacing)?,
            spacing: &parts.spacing.spacing,
        })
    }

    /// For each model the number of pins that may be recommended.
    pub(super) fn pins(&self, all: usize) -> Vec<usize> {
        let selected = |shape: &ModelShape<'_>| shape.index.selection.map(Selection::pins);
        let models = self.models.iter();
        models.map(|shape| selected(shape).unwrap_or(all)).collect()
    }
}

/// Refuses models that name what is not there, and what no model names.
fn check_names(params: &EvaluateParams) -> Result<(), EvaluateError> {
    let of_filters = |model: &Model| model.filter.clone();
    let of_rules = |model: &Model| model.rerank.clone();
    check_key("filter", params.filters.keys(), &params.models, of_filters)?;
    check_key("rerank", params.rerank.keys(), &params.models, of_rules)
}

/// The same for one `key` of models, whose value is that of `named`.
fn check_key<'a>(
    key: &'static str,
    given: impl Iterator<Item = &'a String>,
    models: &[Model],
    named: impl Fn(&Model) -> Option<String>,
) -> Result<(), EvaluateError> {
    let given: Vec<&String> = given.collect();
    for model in models {
        if let Some(name) = named(model).filter(|name| !given.contains(&name)) {
            let model = model.name.clone();
            return Err(EvaluateError::NotGiven { model, key, name });
        }
    }
    let is_used = |name: &String| {
        models
            .iter()
            .any(|model| named(model).as_ref() == Some(name))
    };
    match given.into_iter().find(|name| !is_used(name)) {
        Some(name) => Err(EvaluateError::NotUsed {
            key,
            name: name.clone(),
        }),
        None => Ok(()),
    }
}

/// Refuses filters and rules that do not fit the catalog, and a model that says twice what
/// popularity is worth.
fn check_fit(params: &EvaluateParams, catalog: &Catalog) -> Result<(), EvaluateError> {
    let definitions = catalog.attributes.definitions();
    for (name, filter) in &params.filters {
        filter
            .check(definitions)
            .map_err(|source| EvaluateError::Filter {
                name: name.clone(),
                source,
            })?;
    }
    for (name, rules) in &params.rerank {
        rules
            .check(definitions)
            .map_err(|source| EvaluateError::Rerank {
                name: name.clone(),
                source,
            })?;
    }
    let says_twice = |model: &&Model| {
        let rules = params.rules(model);
        model.popularity.is_some() && rules.is_some_and(|rules| rules.popularity_weight.is_some())
    };
    match params.models.iter().find(says_twice) {
        Some(model) => Err(EvaluateError::TwoPopularities {
            model: model.name.clone(),
        }),
        None => Ok(()),
    }
}
