//! What the streams of all connections have done, read from their counters when somebody looks.

use std::sync::Arc;

use kadmos_core::event::Refusal;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::shared::Counters;

/// The counters as a part of the registry.
#[derive(Debug)]
pub(super) struct Sessions(pub(super) Arc<Counters>);

impl Collector for Sessions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Self(counters) = self;
        counters.serving().encode(&mut encoder)?;
        let mut refused = encoder.encode_descriptor(
            "session_rejected",
            "Requests, frames and streams of peers that were refused",
            None,
            MetricType::Counter,
        )?;
        for code in Refusal::ALL {
            let labels = [("reason", code.code())];
            ConstCounter::new(counters.refusals(code)).encode(refused.encode_family(&labels)?)?;
        }
        let gauges = [
            ("sessions", "Connections on which the protocol may be spoken", counters.connections()),
            ("rpc_inbound_streams", "Streams that peers hold open", counters.inbound_streams()),
        ];
        for (name, help, value) in gauges {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        let counts = [
            ("rpc_streams_opened", "Streams opened to peers", counters.outbound_streams_opened()),
            (
                "rpc_streams_reused",
                "Requests sent on a stream that had carried another",
                counters.outbound_streams_reused(),
            ),
            (
                "rpc_streams_broken",
                "Streams that broke when used again, and whose request was sent anew",
                counters.outbound_reuse_broken(),
            ),
        ];
        for (name, help, value) in counts {
            ConstCounter::new(value).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        Ok(())
    }
}
