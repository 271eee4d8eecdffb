//! The tokenizer: a byte-level BPE, trained on the corpus.

use diablo::text::Tokenizer as Checked;
use serde_json::{Value, json};
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

/// Tokens, the special ones among them.
pub const VOCAB_SIZE: usize = 1024;
/// The special tokens by id: end of text, beginning and end of a turn.
pub const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// Id of `<|im_end|>`, which ends an answer.
pub const END_OF_TURN: u32 = 2;
/// Id of `<|endoftext|>`, which ends a text.
pub const END_OF_TEXT: u32 = 0;

/// ChatML.
const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// `tokenizer.json`, trained on `texts`.
pub fn train(texts: &[String]) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    type Untrained =
        TokenizerImpl<ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;
    let bytes = ByteLevel::new(false, true, true);
    let mut tokenizer: Untrained = TokenizerImpl::new(ModelWrapper::BPE(BPE::default()));
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(bytes)));
    tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(bytes)));
    let trainer = BpeTrainerBuilder::new()
        .vocab_size(VOCAB_SIZE)
        .show_progress(false)
        // All 256 bytes, so that any text can be written.
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(SPECIAL.map(|token| AddedToken::from(token, true)).to_vec())
        .build();
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), texts.iter())?;
    let json = tokenizer.to_string(false)?;
    Checked::from_bytes(json.as_bytes(), "tokenizer.json")?;
    Ok(json)
}

/// `tokenizer_config.json`.
pub fn config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": SPECIAL[END_OF_TURN as usize],
        "pad_token": SPECIAL[END_OF_TEXT as usize],
        "unk_token": null,
        "clean_up_tokenization_spaces": false,
        "model_max_length": crate::init::CONTEXT,
        "chat_template": TEMPLATE,
    })
}
