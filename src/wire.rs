//! The public contract as Rust types, generated from `proto/`, with its codec and its
//! descriptors.

use std::marker::PhantomData;

use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec as TonicCodec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

pub(crate) mod attributes;
pub(crate) mod reranking;

/// The messages and services of package `pinnersage.v1`.
#[expect(
    clippy::large_enum_variant,
    reason = "generated; nearly all outcomes of a batch are responses"
)]
pub mod v1 {
    tonic::include_proto!("pinnersage.v1");
}

/// The descriptors of all protos, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pinnersage.v1.bin"));

/// Lists the methods in an encoded descriptor set, each as `package.Service/Method`.
///
/// # Panics
///
/// When `descriptors` are no descriptor set: they come from a compiler of protos.
pub(crate) fn method_paths(descriptors: &[u8]) -> Vec<String> {
    let set = FileDescriptorSet::decode(descriptors);
    let set = set.expect("the descriptors were made by the compiler of the protos");
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let (service, method) = (service.name(), method.name());
                paths.push(format!("{}.{service}/{method}", file.package()));
            }
        }
    }
    paths
}

/// Protobuf codec with one difference to tonic's: bytes that do not decode are the
/// fault of the caller, so they are INVALID_ARGUMENT and not INTERNAL.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// The decoding half of [`Codec`].
#[derive(Debug)]
pub struct MessageDecoder<U>(PhantomData<U>);

impl<T, U> TonicCodec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = MessageDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        MessageDecoder(PhantomData)
    }
}

impl<U: Message + Default> Decoder for MessageDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let malformed = |_| Status::invalid_argument("the message is not valid protobuf");
        U::decode(buffer).map(Some).map_err(malformed)
    }
}
