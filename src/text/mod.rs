//! Text to token ids and back, and conversations to text.

mod chat;
mod codec;
#[cfg(test)]
pub(crate) mod fixture;
mod limits;
mod message;
mod methods;
mod prepare;
mod python;
mod stream;
mod strftime;
mod tokenizer;

pub use chat::ChatTemplate;
pub use codec::Codec;
pub use message::Message;
pub use stream::StreamDecoder;
pub use tokenizer::Tokenizer;
