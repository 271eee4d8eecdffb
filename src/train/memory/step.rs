//! A step, operation by operation: what each takes, keeps for its backward pass, and gives back.
//!
//! Kept are, in every layer whose input depends on something that is trained, with `t` tokens:
//! - `rms_norm`: its input, for both norms of the layer: the residual stream before attention and before the MLP;
//! - a projection: nothing, as the weight is frozen; with an adapter its input, which projections share (q, k and v the
//!   one normed stream, gate and up the other); with dropout on the adapter's input a mask and the dropped input, of its own
//!   each, instead; with LoRA the values between its factors too; where all weights are trained every input;
//! - norms of queries and keys: queries and keys before them;
//! - `rotary`: nothing but its tables, which all layers share; it works in place, forward and backward;
//! - `causal_attention`: queries, keys and values; the weights are made anew;
//! - `swiglu`: gate and up, over which their gradients are written;
//! - additions: nothing; the sum is written over one of its sides;
//! - `linear_cross_entropy`: its gradient to the hidden states, which is made along with the loss; where the head is
//!   trained, the gradient to the logits, and the hidden states.

use super::{BaseBytes, BatchShape, F32, Ledger, MemorySetup};
use crate::adapter::Method;
use crate::model::Projection::{self, Down, Gate, K, O, Q, Up, V};
use crate::train::Mode;
use crate::train::parameters::MAX_SEGMENT;

/// How an adapter works on its matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// In the weight.
    Merged,
    /// Beside it: blocks.
    Blocks,
    /// One block, added to the weight for every product.
    Sum,
    /// Beside it: factors of that rank; whether their product is scaled.
    Factors { rank: u64, scaled: bool },
    /// The weight itself.
    Weight,
}

/// What autodiff follows in a layer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tracked {
    /// Nothing.
    Nothing,
    /// What is trained in it, but not its input.
    Inside,
    /// Its input too.
    All,
}

impl Tracked {
    pub(super) fn layer(self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// Whether the input of `projection` is followed.
    pub(super) fn follows(self, projection: Projection) -> bool {
        match self {
            Self::Nothing => false,
            Self::Inside => !matches!(projection, Q | K | V),
            Self::All => true,
        }
    }
}

/// A pass over one batch. All that is counted is in values.
pub(super) struct Step<'a> {
    pub(super) setup: &'a MemorySetup<'a>,
    pub(super) ledger: Ledger,
    pub(super) batch: BatchShape,
    /// Tokens.
    pub(super) t: u64,
    /// Widths: residual stream, queries, keys (or values), MLP, classes.
    pub(super) hidden: u64,
    pub(super) q: u64,
    pub(super) kv: u64,
    pub(super) mlp: u64,
    pub(super) vocab: u64,
    pub(super) place: Option<Place>,
    pub(super) dropout: bool,
    /// Of all trained tensors together.
    pub(super) trained: u64,
}

impl<'a> Step<'a> {
    pub(super) fn new(setup: &'a MemorySetup<'a>, batch: BatchShape) -> Self {
        let model = setup.model;
        let dropout = setup.adapter.is_some_and(|(adapter, _)| adapter.dropout > 0.0);
        let place = setup.adapter.map(|(adapter, mode)| match adapter.method {
            Method::AllWeights => Place::Weight,
            Method::Lora { rank, alpha } => Place::Factors { rank: rank as u64, scaled: alpha != rank as f64 },
            _ if mode == Mode::Merged => Place::Merged,
            Method::Full | Method::Diablo { blocks: 1 } if !dropout => Place::Sum,
            Method::Full | Method::Diablo { .. } => Place::Blocks,
        });
        let widths = [model.hidden_size, model.q_size(), model.kv_size(), model.intermediate_size, model.vocab_size];
        let [hidden, q, kv, mlp, vocab] = widths.map(|width| width as u64);
        let (ledger, t, trained) = (Ledger::default(), batch.tokens(), setup.trained());
        Self { setup, ledger, batch, t, hidden, q, kv, mlp, vocab, place, dropout, trained }
    }

    /// A forward and backward pass, and the update: the most bytes that exist at a time besides weights and state, and those
    /// of them that are kept for the backward pass.
    pub(super) fn train(mut self) -> (u64, u64) {
        let kept = self.run();
        (F32 * self.ledger.peak, F32 * kept)
    }

    /// The same, of which the values that are kept are returned.
    pub(super) fn run(&mut self) -> u64 {
        if self.setup.accumulates {
            // The gradient of the micro-batches before.
            self.ledger.take(self.trained);
        }
        self.begin();
        let before = self.ledger.live;
        let layers = self.setup.model.num_hidden_layers;
        // With all weights the embedding is trained, and without any the first input is what the gradient is for.
        let first = if matches!(self.place, None | Some(Place::Weight)) { Tracked::All } else { Tracked::Inside };
        let tracked = |index: usize| if index == 0 { first } else { Tracked::All };

        let stream = self.t * self.hidden;
        self.ledger.take(stream); // the embedded tokens
        let checkpoint = self.setup.grad_checkpoint;
        for index in 0..layers {
            self.forward(if checkpoint { Tracked::Nothing } else { tracked(index) }, checkpoint);
        }
        let kept = self.ledger.live - before;
        self.loss(true);
        self.loss_backward();
        for index in (0..layers).rev() {
            let tracked = tracked(index);
            if checkpoint {
                self.forward(tracked, true);
                // Its output is weighted with the gradient to it, which stays, and gives way to that gradient anew.
                self.ledger.give(stream);
                self.ledger.take(stream);
            }
            self.backward(tracked);
            if checkpoint {
                self.ledger.give(stream); // the gradient to its output
                if let Tracked::Inside = tracked {
                    self.ledger.give(stream); // its input, which no norm kept
                }
            }
        }
        if self.place == Some(Place::Weight) {
            // The embedding's gradient; a head that is the same tensor has one already, to which it is added.
            self.ledger.take(self.vocab * self.hidden);
            if self.setup.model.tie_word_embeddings {
                self.ledger.give(self.vocab * self.hidden);
            }
        }
        self.ledger.give(stream);
        // The gradient in one piece, from those of the tensors, a segment at a time.
        self.ledger.pass(self.trained.min(MAX_SEGMENT as u64));
        kept
    }

    /// A forward pass without gradient: the most bytes that exist at a time besides weights and state.
    pub(super) fn evaluate(mut self) -> u64 {
        self.dropout = false;
        self.begin();
        self.ledger.take(self.t * self.hidden);
        for _ in 0..self.setup.model.num_hidden_layers {
            self.forward(Tracked::Nothing, false);
        }
        self.loss(false);
        F32 * self.ledger.peak
    }

    /// Bytes of the largest single allocation.
    pub(super) fn largest(&self) -> u64 {
        self.piece().1.max(F32 * self.trained.min(MAX_SEGMENT as u64))
    }

    /// The largest single allocation of those that grow with the batch: what it is, and its bytes.
    pub(super) fn piece(&self) -> (&'static str, u64) {
        let logits = match self.place {
            Some(Place::Weight) => self.t * self.vocab,
            _ => self.logits(),
        };
        let widest = self.t * self.mlp.max(self.q).max(self.hidden);
        let (queries, scores) = self.block();
        let pieces = [
            ("a chunk of logits", logits),
            ("a block of attention", queries.max(scores)),
            ("a layer's output", widest),
        ];
        let (what, values) = pieces.into_iter().max_by_key(|(_, values)| *values).unwrap_or_default();
        (what, F32 * values)
    }

    /// The tables of angles, the scratch of a quantised base, and where all weights are trained their sums with the updates.
    pub(super) fn begin(&mut self) {
        let BaseBytes { resident, dequantised, .. } = self.setup.base;
        let sums = if self.place == Some(Place::Weight) { resident / F32 } else { 0 };
        self.ledger.take(self.t * self.setup.model.head_dim as u64 + dequantised / F32 + sums);
    }

    /// A layer, whose input is there; its output is taken. If layers are `recomputed`, a pass without gradient leaves its
    /// input and what its attention gave, and the other one finds them.
    fn forward(&mut self, tracked: Tracked, recomputed: bool) {
        let (t, hidden, q, kv, mlp) = (self.t, self.hidden, self.q, self.kv, self.mlp);
        self.ledger.take(t * hidden); // normed
        for projection in [Q, K, V] {
            self.project(projection, tracked);
        }
        self.give_input(&[Q, K, V], hidden, tracked);
        if self.setup.model.qk_norm {
            self.ledger.take(t * (q + kv));
            if !tracked.layer() {
                self.ledger.give(t * (q + kv));
            }
        }
        if recomputed && tracked.layer() {
            self.attend_known();
        } else {
            self.attend();
        }
        if !tracked.layer() {
            self.ledger.give(t * (q + 2 * kv));
        }
        self.project(O, tracked); // the sum with the stream is written over it
        if tracked.layer() || !recomputed {
            self.give_input(&[O], q, tracked);
        }
        if !(recomputed || matches!(tracked, Tracked::All)) {
            self.ledger.give(t * hidden);
        }

        self.ledger.take(t * hidden); // normed
        self.project(Gate, tracked);
        self.project(Up, tracked);
        self.give_input(&[Gate, Up], hidden, tracked);
        self.ledger.take(t * mlp); // their product
        if !tracked.layer() {
            self.ledger.give(2 * t * mlp);
        }
        self.project(Down, tracked);
        self.give_input(&[Down], mlp, tracked);
        if !tracked.layer() {
            self.ledger.give(t * hidden); // the stream between attention and MLP
        }
    }

    /// A layer backward: the gradient to its output is there, and what its forward pass kept; the gradient to its input
    /// remains.
    fn backward(&mut self, tracked: Tracked) {
        let (t, hidden, q, kv, mlp) = (self.t, self.hidden, self.q, self.kv, self.mlp);
        let give_kept = |step: &mut Self, projections: &[Projection], width: u64| {
            if step.keeps_input(projections) {
                step.ledger.give(t * width);
            }
        };
        self.project_backward(Down, tracked, false);
        give_kept(self, &[Down], mlp);
        self.ledger.give(t * mlp); // the gradients to gate and up are written over them
        self.project_backward(Up, tracked, false);
        self.ledger.give(t * mlp);
        self.project_backward(Gate, tracked, true);
        self.ledger.give(t * mlp);
        give_kept(self, &[Gate, Up], hidden);
        self.norm_backward();

        self.project_backward(O, tracked, false);
        give_kept(self, &[O], q);
        self.attend_backward();
        self.ledger.give(t * (q + 2 * kv) + t * q);
        if self.setup.model.qk_norm {
            self.ledger.take(t * (q + kv));
            self.ledger.give(2 * t * (q + kv));
        }
        for (projection, width) in [(Q, q), (K, kv), (V, kv)] {
            self.project_backward(projection, tracked, projection != Q);
            self.ledger.give(t * width);
        }
        give_kept(self, &[Q, K, V], hidden);
        if let Tracked::All = tracked {
            self.norm_backward();
        }
    }
}
