//! The clusters that may still merge, and their nearest neighbors: a sieve in f32
//! before decisions in f64.
//!
//! Instead of distances, the matrix holds inner products of the sums of the
//! clusters, in f32. A merge just adds them up, and the distance follows from
//! |a - b|^2 = |a|^2 + |b|^2 - 2 ab for the centroids a and b. How far that can be
//! off is known ([`Clusters::error`]). Where it leaves one nearest neighbor on
//! one side of alpha, that is the answer; else the distances in question are computed
//! from the vectors in f64. So the clusters are those of f64 arithmetic, however a
//! machine rounds the products.
//!
//! A merge changes a column of the matrix, and writing a column costs a cache line
//! for each number. So it is only written down, as a [`Step`], and a row goes
//! through the steps that it has missed when it is next read: all of them move
//! numbers within that row.

use crate::kernel;
use crate::kernel::gram;

/// Unit roundoff of f32.
const ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;

/// The vectors behind the rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Points<'a> {
    /// The vectors of all points.
    pub(super) rows: &'a [f32],
    /// Components of a vector.
    pub(super) dimension: usize,
    /// By row: the index of its vector in `rows`.
    pub(super) firsts: &'a [usize],
}

impl<'a> Points<'a> {
    fn vector(&self, row: usize) -> &'a [f32] {
        &self.rows[self.firsts[row] * self.dimension..][..self.dimension]
    }
}

/// A merge, as a row sees it: what stood in the column `gone` is added to `kept`,
/// and the column `last` takes its place. A cluster that retires is added to
/// itself, and gone.
#[derive(Clone, Copy, Debug)]
struct Step {
    kept: u32,
    gone: u32,
    last: u32,
}

/// The clusters that may still merge.
///
/// A cluster keeps the row of its first member. The columns are the clusters that
/// are left, without gaps: the last column fills each one that opens.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    /// Inner products of the sums of the members of clusters, as they were after
    /// the steps that the row has seen; negative infinity of a cluster with itself.
    products: Vec<f32>,
    stride: usize,
    steps: Vec<Step>,
    /// By column: its row.
    rows: Vec<usize>,
    /// By column: squared norm of the centroid; infinity behind the last.
    squares: Vec<f32>,
    /// By column: one over the size.
    shares: Vec<f32>,
    /// By row: steps that its products have gone through.
    seen: Vec<usize>,
    /// By row.
    heads: Vec<Head>,
    /// By row: its centroid, where the head says so.
    centroids: Vec<f64>,
    /// Maximum depth of a head.
    deepest: u32,
    /// The roundoff times the greatest squared norm of a vector.
    unit: f32,
    /// By column: lower bound of the distance to the row that was sieved last.
    lows: Vec<f32>,
    /// Columns that may be nearest to that row.
    near: Vec<usize>,
}

/// State of the cluster of a row.
#[derive(Clone, Copy, Debug)]
struct Head {
    column: usize,
    /// Number of points equal to that of the row.
    weight: f64,
    /// Number of points in the cluster.
    size: f64,
    /// Additions behind a product of the cluster, one after the other.
    depth: u32,
    has_centroid: bool,
    /// Row of the next member of its cluster.
    next: Option<usize>,
    /// Row of the last member of the cluster.
    last: usize,
}

impl Clusters {
    /// Starts with each point that is no copy as a cluster.
    ///
    /// `parents` holds, for each point, the first point that equals it. `weighted` is a
    /// buffer.
    pub(super) fn reset(
        &mut self,
        points: &Points<'_>,
        sizes: &[u32],
        parents: &[usize],
        weighted: &mut Vec<f32>,
    ) {
        self.reset_heads(points, sizes, parents);
        self.compute_products(points, weighted);
        self.reset_columns(points.firsts.len());
        let centroids = points.firsts.len() * points.dimension;
        if self.centroids.len() < centroids {
            self.centroids.resize(centroids, 0.0);
        }
    }

    fn reset_heads(&mut self, points: &Points<'_>, sizes: &[u32], parents: &[usize]) {
        let heads = points.firsts.iter().enumerate();
        self.heads.clear();
        self.heads.extend(heads.map(|(row, &point)| Head {
            column: row,
            weight: f64::from(sizes[point]),
            size: f64::from(sizes[point]),
            depth: 0,
            has_centroid: false,
            next: None,
            last: row,
        }));
        self.deepest = 0;
        if points.firsts.len() == parents.len() {
            return;
        }
        for (point, &first) in parents.iter().enumerate() {
            if let (true, Ok(row)) = (point != first, points.firsts.binary_search(&first)) {
                self.heads[row].weight += f64::from(sizes[point]);
                self.heads[row].size = self.heads[row].weight;
            }
        }
    }

    fn compute_products(&mut self, points: &Points<'_>, weighted: &mut Vec<f32>) {
        if self.heads.iter().all(|head| head.size == 1.0) {
            gram::gram(points.rows, points.dimension, &mut self.products);
            return;
        }
        weighted.clear();
        for (row, head) in self.heads.iter().enumerate() {
            let weight = head.weight as f32;
            weighted.extend(points.vector(row).iter().map(|x| x * weight));
        }
        gram::gram(weighted, points.dimension, &mut self.products);
    }

    /// Makes each row a column, and bounds the error of the products.
    fn reset_columns(&mut self, count: usize) {
        self.stride = gram::padded(count);
        self.seen.clear();
        self.seen.resize(count, 0);
        self.steps.clear();
        self.rows.clear();
        self.rows.extend(0..count);
        self.squares.clear();
        self.shares.clear();
        let mut greatest = 0.0f64;
        for (row, head) in self.heads.iter().enumerate() {
            let with_itself = &mut self.products[row * self.stride + row];
            let square = f64::from(*with_itself) / (head.size * head.size);
            *with_itself = f32::NEG_INFINITY;
            greatest = greatest.max(square);
            self.squares.push(square as f32);
            self.shares.push((1.0 / head.size) as f32);
        }
        // A hundredth more for all that is of the order of its square, and for the
        // norm, which is off itself; and something for what f32 holds as 0.
        self.unit = (1.01 * ROUNDOFF * greatest) as f32 + f32::MIN_POSITIVE;
        self.squares.resize(self.stride, f32::INFINITY);
        self.shares.resize(self.stride, 1.0);
        self.lows.resize(self.stride, 0.0);
    }

    /// A row to start a chain with: another one each time, so that the clusters
    /// grow side by side and few additions follow one another.
    pub(super) fn chain_start(&self) -> Option<usize> {
        let column = self.steps.len().checked_rem(self.rows.len())?;
        Some(self.rows[column])
    }

    /// The cluster nearest to that of `row`, if at most `alpha` away. Of equally
    /// near ones the one `before` in the chain, so that the chain cannot run in a
    /// circle, and then the first.
    pub(super) fn nearest(
        &mut self,
        row: usize,
        before: Option<usize>,
        alpha: f64,
        points: &Points<'_>,
    ) -> Option<usize> {
        if self.rows.len() < 2 {
            return None;
        }
        self.catch_up(row);
        let limit = self.sieve(row, points.dimension);
        if let [only] = self.near[..]
            && f64::from(limit) <= alpha
        {
            return Some(self.rows[only]);
        }
        self.nearest_of_sieved(row, before, alpha, points)
    }

    /// Makes `near` the columns that may be nearest to `row`, and `lows` lower bounds of
    /// the distances to all columns. Returns an upper bound of the distance to the nearest.
    fn sieve(&mut self, row: usize, dimension: usize) -> f32 {
        let column = self.heads[row].column;
        let wide = gram::padded(self.rows.len());
        gram::nearest(
            gram::Row {
                products: &self.products[row * self.stride..][..wide],
                squares: &self.squares[..wide],
                shares: &self.shares[..wide],
                square: self.squares[column],
                share: self.shares[column],
                error: self.error(row, dimension),
            },
            &mut self.lows[..wide],
            &mut self.near,
        )
    }

    /// Decides among the columns of `near` in f64.
    fn nearest_of_sieved(
        &mut self,
        row: usize,
        before: Option<usize>,
        alpha: f64,
        points: &Points<'_>,
    ) -> Option<usize> {
        let mut best: Option<(f64, bool, usize)> = None;
        for at in 0..self.near.len() {
            let near = self.near[at];
            if f64::from(self.lows[near]) > alpha {
                continue;
            }
            let other = self.rows[near];
            let distance = self.distance(row, other, points);
            let found = (distance, before != Some(other), other);
            if distance <= alpha && best.is_none_or(|best| found < best) {
                best = Some(found);
            }
        }
        best.map(|(_, _, other)| other)
    }

    /// How far |a|^2 + |b|^2 - 2 ab may be off for the centroids a of `row` and b
    /// of any other cluster.
    ///
    /// In units of u N, with the roundoff u and N the greatest squared norm, for d
    /// dimensions: a product of points is off by d (see [`gram::gram`]), and by 2
    /// more for their weights. A product of two clusters is a sum of such, each
    /// times at most its share, with as many roundings in a row as both clusters
    /// are deep. So with both products 2 ab is off by 2 (d + 2 + depths); |a|^2 and
    /// |b|^2 together by the same, as their depths count twice; 1 + 1 for keeping
    /// them in f32. The roundings of [`gram::nearest`] add 2 * 4 for 2 ab, 2 + 4
    /// for the sum, and its weight and bounds 4 * 5 for numbers up to 4 N.
    fn error(&self, row: usize, dimension: usize) -> f32 {
        let depths = (self.heads[row].depth + self.deepest) as f32;
        let units = 4.0 * (dimension as f32 + 2.0 + depths) + 36.0;
        units * self.unit
    }

    /// The distance of two clusters in f64.
    fn distance(&mut self, a: usize, b: usize, points: &Points<'_>) -> f64 {
        self.ensure_centroid(a, points);
        self.ensure_centroid(b, points);
        let (n, m) = (self.heads[a].size, self.heads[b].size);
        let centroid = |row: usize| &self.centroids[row * points.dimension..][..points.dimension];
        2.0 * n * m / (n + m) * kernel::squared_l2_f64(centroid(a), centroid(b))
    }

    fn ensure_centroid(&mut self, row: usize, points: &Points<'_>) {
        if self.heads[row].has_centroid {
            return;
        }
        self.heads[row].has_centroid = true;
        let centroid = &mut self.centroids[row * points.dimension..][..points.dimension];
        centroid.fill(0.0);
        let mut member = Some(row);
        while let Some(row) = member {
            kernel::add_weighted(centroid, points.vector(row), self.heads[row].weight);
            member = self.heads[row].next;
        }
        let size = self.heads[row].size;
        centroid.iter_mut().for_each(|sum| *sum /= size);
    }

    /// Applies the steps that the row has missed.
    fn catch_up(&mut self, row: usize) {
        let products = &mut self.products[row * self.stride..][..self.stride];
        let seen = &mut self.seen[row];
        for step in &self.steps[*seen..] {
            let (kept, gone, last) = (step.kept as usize, step.gone as usize, step.last as usize);
            products[kept] += products[gone];
            products[gone] = products[last];
        }
        *seen = self.steps.len();
    }

    /// Merges the cluster of `tail` into that of `head`, which comes first.
    pub(super) fn merge(&mut self, head: usize, tail: usize) {
        self.catch_up(head);
        self.catch_up(tail);
        let (a, b) = (self.heads[head], self.heads[tail]);
        let (before, behind) = self.products.split_at_mut(tail * self.stride);
        let products = &mut before[head * self.stride..][..self.rows.len()];
        let product = f64::from(products[b.column]);
        gram::add(products, &behind[..self.rows.len()]);

        let size = a.size + b.size;
        let part = |head: Head| {
            let share = head.size / size;
            share * share * f64::from(self.squares[head.column])
        };
        let square = part(a) + part(b) + 2.0 * product / (size * size);
        self.squares[a.column] = square as f32;
        self.shares[a.column] = (1.0 / size) as f32;
        self.heads[a.last].next = Some(tail);
        let merged = &mut self.heads[head];
        merged.size = size;
        merged.depth = 1 + a.depth.max(b.depth);
        merged.has_centroid = false;
        merged.last = b.last;
        self.deepest = self.deepest.max(merged.depth);
        self.remove(a.column, b.column);
    }

    /// Removes a cluster that can merge with no other.
    pub(super) fn retire(&mut self, row: usize) {
        let column = self.heads[row].column;
        self.remove(column, column);
    }

    /// Removes the column `gone`, whose cluster is now in `kept`.
    fn remove(&mut self, kept: usize, gone: usize) {
        let last = self.rows.len() - 1;
        self.rows.swap_remove(gone);
        if let Some(&row) = self.rows.get(gone) {
            self.heads[row].column = gone;
        }
        self.squares[gone] = self.squares[last];
        self.squares[last] = f32::INFINITY;
        self.shares[gone] = self.shares[last];
        self.steps.push(Step {
            kept: kept as u32,
            gone: gone as u32,
            last: last as u32,
        });
    }
}
