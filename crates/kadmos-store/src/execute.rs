//! Running the node's own store operations.

use kadmos_core::record::{StoreReply, StoreRequest};
use kadmos_core::time::UnixTime;

use crate::error::WriteError;
use crate::store::Store;

/// Runs one store operation of a node; drivers feed the reply back as `Input::Stored`.
///
/// Errors are replies too: [`StoreReply::Failed`] carries the sentence.
pub async fn execute(store: &dyn Store, request: StoreRequest, now: UnixTime) -> StoreReply {
    match request {
        StoreRequest::Value { key } => match store.value(&key, now).await {
            Ok(value) => StoreReply::Value(value),
            Err(error) => StoreReply::Failed { reason: error.to_string() },
        },
        StoreRequest::Providers { key, count } => match store.providers(&key, count, now).await {
            Ok(providers) => StoreReply::Providers(providers),
            Err(error) => StoreReply::Failed { reason: error.to_string() },
        },
        StoreRequest::PutValue(write) => written(store.put_values(vec![write], now).await.pop()),
        StoreRequest::AddProvider(record) => written(store.add_providers(vec![record], now).await.pop()),
    }
}

/// The reply to a batch of one. A store that forgot its result has not said that it wrote.
pub(crate) fn written(result: Option<Result<(), WriteError>>) -> StoreReply {
    match result {
        Some(Ok(())) => StoreReply::Written,
        Some(Err(WriteError::Conflict)) => StoreReply::Conflict,
        Some(Err(error)) => StoreReply::Failed { reason: error.to_string() },
        None => StoreReply::Failed { reason: "the store gave no result for a write".to_string() },
    }
}
