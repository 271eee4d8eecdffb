//! What each operation takes and gives back, forward and backward. What it keeps is listed in [`step`](super::step).

use super::BatchShape;
use super::step::{Place, Step, Tracked};
use crate::adapter::Method;
use crate::device::Kind;
use crate::kernels::{attention, linear_cross_entropy};
use crate::model::Projection;

impl Step<'_> {
    pub(super) fn is_adapted(&self, projection: Projection) -> bool {
        self.place == Some(Place::Weight)
            || self.setup.adapter.is_some_and(|(adapter, _)| adapter.modules.contains(&projection))
    }

    /// Input and output width.
    pub(super) fn size(&self, projection: Projection) -> [u64; 2] {
        projection.size(self.setup.model).map(|width| width as u64)
    }

    /// Gives the common input of `projections` back, `width` wide, unless it is kept.
    pub(super) fn give_input(&mut self, projections: &[Projection], width: u64, tracked: Tracked) {
        if !(tracked.layer() && self.keeps_input(projections)) {
            self.ledger.give(self.t * width);
        }
    }

    /// Whether the common input of `projections` is kept, where autodiff follows it.
    pub(super) fn keeps_input(&self, projections: &[Projection]) -> bool {
        !self.dropout && projections.iter().any(|projection| self.is_adapted(*projection))
    }

    /// What the adapter of `projection` keeps of its own.
    pub(super) fn own(&self, projection: Projection, tracked: Tracked) -> u64 {
        if !(self.is_adapted(projection) && tracked.layer()) {
            return 0;
        }
        let [d_in, d_out] = self.size(projection);
        let tensors = 1 + u64::from(tracked.follows(projection)); // what is dropped out, and a mask for the way back
        let dropped = if self.dropout { tensors * self.t * d_in } else { 0 };
        match self.place {
            Some(Place::Factors { rank, .. }) => dropped + self.t * rank,
            Some(Place::Sum) => d_in * d_out,
            _ => dropped,
        }
    }

    /// A projection, whose input is there; its result is taken.
    pub(super) fn project(&mut self, projection: Projection, tracked: Tracked) {
        let ([d_in, d_out], t) = (self.size(projection), self.t);
        if self.is_adapted(projection) {
            self.ledger.take(self.own(projection, tracked));
            if !tracked.layer() {
                let dropped = if self.dropout { 2 * t * d_in } else { 0 };
                self.ledger.pass(if self.place == Some(Place::Sum) { d_in * d_out } else { dropped });
            }
            if let Some(Place::Factors { .. }) = self.place {
                self.ledger.pass(2 * t * d_out); // to what the weight gives that of the factors is added
            }
        }
        self.ledger.take(t * d_out);
    }

    /// A projection backward: the gradient to its result is there and stays; that to its input is taken, or `added` to one
    /// that is there. Those to what is trained are taken, and what its adapter kept is given back.
    pub(super) fn project_backward(&mut self, projection: Projection, tracked: Tracked, added: bool) {
        let ([d_in, d_out], t) = (self.size(projection), self.t);
        let input = if tracked.follows(projection) { t * d_in } else { 0 };
        self.ledger.take(input);
        if self.is_adapted(projection) {
            match self.place {
                Some(Place::Factors { rank, scaled }) => {
                    let scaled = if scaled { t * d_out } else { 0 };
                    self.ledger.pass(scaled + t * rank);
                    self.ledger.pass(t * rank + input);
                    self.ledger.take(rank * (d_in + d_out));
                }
                Some(Place::Blocks) => {
                    self.ledger.pass(input);
                    self.ledger.take(d_in * d_out / self.blocks());
                }
                Some(Place::Merged) => self.ledger.take(d_in * d_out / self.blocks()),
                Some(Place::Sum | Place::Weight) => self.ledger.take(d_in * d_out),
                None => {}
            }
            self.ledger.give(self.own(projection, tracked));
        }
        if added {
            self.ledger.give(input);
        }
    }

    /// Into how many blocks a matrix is cut.
    fn blocks(&self) -> u64 {
        match self.setup.adapter.map(|(adapter, _)| adapter.method) {
            Some(Method::Diablo { blocks }) => blocks as u64,
            _ => 1,
        }
    }

    /// From the gradient to what is normed to that to the stream, to which the stream's own is added; what the norm kept
    /// goes.
    pub(super) fn norm_backward(&mut self) {
        self.ledger.take(self.t * self.hidden);
        self.ledger.give(3 * self.t * self.hidden);
    }

    /// Attention: queries, keys and values are there, and the result is taken.
    pub(super) fn attend(&mut self) {
        let (t, q, kv) = (self.t, self.q, self.kv);
        if let Kind::Gpu | Kind::Software = self.setup.device {
            let (queries, scores) = self.block();
            self.ledger.take(2 * t * kv + t * q); // keys and values by head, results of all blocks
            self.ledger.pass(queries + scores);
            self.ledger.pass(t * q); // the results joined, then by token
            self.ledger.give(2 * t * kv + t * q);
        }
        self.ledger.take(t * q);
    }

    /// Attention whose result is there already.
    pub(super) fn attend_known(&mut self) {
        if let Kind::Gpu | Kind::Software = self.setup.device {
            // What is kept for its gradients is by head.
            self.ledger.pass(self.t * (self.q + 2 * self.kv));
        }
    }

    /// Its gradients to queries, keys and values, which are taken.
    pub(super) fn attend_backward(&mut self) {
        let (t, q, kv) = (self.t, self.q, self.kv);
        let results = t * (q + 2 * kv);
        match self.setup.device {
            // Every part of a row's queries has gradients to the keys and values that it sees of its own.
            Kind::Cpu => {
                let model = self.setup.model;
                let heads = [model.num_attention_heads, model.num_key_value_heads];
                let keys = attention::keys_of_parts(self.batch.rows, heads, self.batch.length) as u64;
                self.ledger.pass(2 * keys * kv + results);
            }
            // Keys and values by head, sums of the gradients to them, and the gradients to the queries of all blocks; of
            // one block queries, gradients to its results, weights and gradients to them, and what it adds to the sums.
            Kind::Gpu | Kind::Software => {
                let (queries, scores) = self.block();
                self.ledger.take(4 * t * kv + t * q);
                self.ledger.pass(2 * queries + 2 * scores + 2 * t * kv);
                self.ledger.pass(results);
                self.ledger.give(4 * t * kv + t * q);
            }
        }
        self.ledger.take(results);
    }

    /// Of a block of attention on a GPU: its queries, and its scores.
    pub(super) fn block(&self) -> (u64, u64) {
        let BatchShape { rows, length } = self.batch;
        let heads = self.setup.model.num_attention_heads;
        let queries = attention::queries_of_a_block(rows * heads, length).min(length);
        ((rows * queries) as u64 * self.q, (rows * heads * queries * length) as u64)
    }

    /// Logits that exist at a time, unless the head is trained.
    pub(super) fn logits(&self) -> u64 {
        (linear_cross_entropy::rows_at_a_time(self.vocab as usize) as u64).min(self.t) * self.vocab
    }

    /// Final norm, the rows that are trained (all of them, at worst), head and loss. The stream is there; with a gradient it
    /// is kept, and so is what the loss keeps.
    pub(super) fn loss(&mut self, with_gradient: bool) {
        let (t, hidden, vocab) = (self.t, self.hidden, self.vocab);
        self.ledger.take(t * hidden); // normed
        if !with_gradient {
            self.ledger.give(t * hidden);
        }
        self.ledger.pass(t * hidden); // the rows that are trained, instead of all
        if with_gradient && self.place == Some(Place::Weight) {
            self.ledger.take(t * vocab);
            return;
        }
        let logits = self.logits();
        if with_gradient {
            self.ledger.take(t * hidden); // to them, in parts
            self.ledger.pass(logits);
            if logits < t * vocab {
                self.ledger.pass(t * hidden); // the parts joined
            }
            self.ledger.give(t * hidden); // the rows
        } else {
            self.ledger.pass(logits);
        }
    }

    /// From the loss to the stream before the final norm. What both kept goes.
    pub(super) fn loss_backward(&mut self) {
        let (t, hidden, vocab) = (self.t, self.hidden, self.vocab);
        if self.place == Some(Place::Weight) {
            self.ledger.take(vocab * hidden); // the head's
            self.ledger.take(t * hidden);
            self.ledger.give(t * vocab + t * hidden);
        }
        self.ledger.pass(t * hidden); // those of all rows
        self.ledger.pass(t * hidden); // through the norm
        self.ledger.give(t * hidden);
    }
}
