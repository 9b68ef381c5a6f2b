//! Flags of the reference program that this one does not have. Some only tuned its threads: they
//! are taken, and answered with one warning. The others did something that is not done here: they
//! are errors, since going on without it would be a surprise.

/// A flag of the reference that has no meaning here.
#[derive(Debug)]
pub struct ReferenceFlag {
    /// Its spelling, without dashes.
    pub name: &'static str,
    /// Whether it takes no value unless there is a `=`, as Go's boolean flags.
    pub is_switch: bool,
    /// What becomes of it.
    pub answer: Answer,
}

/// What becomes of a flag of the reference.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Taken; nothing needs to be done for it.
    NotNeeded,
    /// An error; what to use instead, if there is something.
    Unsupported(&'static str),
}

/// Why the flags that are not needed are not needed.
pub const WHY_NOT_NEEDED: &str = "one thread reads every namespace through one loop and lists the namespaces \
                                  before each poll, so nothing is to be tuned";

const S3: &str = "deliver to kafka: or https:, and let the receiver write to S3";
const ENRICH: &str = "enrichment is not done here: join it downstream by address or namespace";
const PROFILE: &str = "profiles are served at /debug/pprof/ of --prom-listen";
const GRPC: &str = "there is no gRPC server: metrics, health and profiles are HTTP at --prom-listen";
const AUTH: &str =
    "the admin server has no authentication: keep --prom-listen on the loopback or behind a proxy";
const LISTENER: &str = "use --prom-listen HOST:PORT and restrict it by firewall";
const RECORD: &str = "use --record FILE";

const fn taken(name: &'static str) -> ReferenceFlag {
    ReferenceFlag {
        name,
        is_switch: false,
        answer: Answer::NotNeeded,
    }
}

const fn taken_switch(name: &'static str) -> ReferenceFlag {
    ReferenceFlag {
        name,
        is_switch: true,
        answer: Answer::NotNeeded,
    }
}

const fn unsupported(name: &'static str, instead: &'static str) -> ReferenceFlag {
    ReferenceFlag {
        name,
        is_switch: false,
        answer: Answer::Unsupported(instead),
    }
}

/// All of them.
pub static REFERENCE_FLAGS: &[ReferenceFlag] = &[
    taken("netlinkers"),
    taken("maxThreads"),
    taken("goMaxProcs"),
    taken_switch("ioUring"),
    taken("ioUringRecvBatch"),
    taken("ioUringCqeBatch"),
    taken("packetSize"),
    taken("packetSizeMply"),
    taken("nltimeout"),
    taken("nlmsgSeq"),
    taken("reconcileFrequency"),
    taken_switch("reconcileBeforePoll"),
    unsupported("asnDbPath", ENRICH),
    unsupported("asnRefreshInterval", ENRICH),
    unsupported("capturePath", RECORD),
    unsupported("writeFiles", RECORD),
    unsupported("destWriteFiles", "use --dest file:/path"),
    unsupported("dockerSocket", ENRICH),
    unsupported("enrichAsn", ENRICH),
    unsupported("enrichContainer", ENRICH),
    unsupported("enrichLldp", ENRICH),
    unsupported("enrichLocality", ENRICH),
    unsupported("enrichNic", ENRICH),
    unsupported("grpcListenAddress", GRPC),
    unsupported("grpcListenNetwork", GRPC),
    unsupported("grpcPort", GRPC),
    unsupported("grpcUnixSocketMode", GRPC),
    unsupported("grpcUnlinkStaleUnixSocket", GRPC),
    unsupported(
        "healthcheck",
        "ask the admin server: GET /readyz at --prom-listen",
    ),
    unsupported("ipmetaBootstrapPath", ENRICH),
    unsupported("ipmetaCachePath", ENRICH),
    unsupported("ipv4Ttl", LISTENER),
    unsupported("ipv6HopLimit", LISTENER),
    unsupported(
        "kafkaSchemaUrl",
        "register the output of \"xtcp2 schema proto\" where it is wanted",
    ),
    unsupported("listenerAuthFailureJitterMax", AUTH),
    unsupported("listenerAuthFailureJitterMin", AUTH),
    unsupported("listenerAuthMode", AUTH),
    unsupported("listenerHMACSharedKey", AUTH),
    unsupported("listenerRawToken", AUTH),
    unsupported("listenerSignedSkewMinutes", AUTH),
    unsupported("lldpdSocket", ENRICH),
    unsupported("lldpdVersionHint", ENRICH),
    unsupported("localityRefreshInterval", ENRICH),
    unsupported(
        "modulus",
        "every row is written: use --states, or sample downstream",
    ),
    unsupported(
        "populateNsid",
        "rows carry the cookie and the inode of the namespace",
    ),
    unsupported("produceTimeout", ""),
    unsupported("profile.mode", PROFILE),
    unsupported("promListenNetwork", LISTENER),
    unsupported("promUnixSocketMode", LISTENER),
    unsupported("promUnlinkStaleUnixSocket", LISTENER),
    unsupported(
        "protobufListLengthDelimit",
        "protobufList is always length-delimited",
    ),
    unsupported("pyroscopeAppName", PROFILE),
    unsupported("pyroscopeSampleHz", PROFILE),
    unsupported("pyroscopeUploadSec", PROFILE),
    unsupported("pyroscopeUrl", PROFILE),
    unsupported("resolveContainerId", ENRICH),
    unsupported("s3AccessKey", S3),
    unsupported("s3Bucket", S3),
    unsupported("s3Endpoint", S3),
    unsupported("s3FlushInterval", S3),
    unsupported("s3FlushJitterPct", S3),
    unsupported("s3FlushThresholdJitterPct", S3),
    unsupported("s3ParquetFlushBytes", S3),
    unsupported("s3Prefix", S3),
    unsupported("s3Region", S3),
    unsupported("s3SecretKey", S3),
    unsupported("s3SkipBucketProbe", S3),
    unsupported("s3UploadBackoffCap", S3),
    unsupported("s3UploadMaxAttempts", S3),
    unsupported("uplinkCount", ENRICH),
    unsupported("uplinkInterfaces", ENRICH),
    unsupported("xtcpProtoFile", "\"xtcp2 schema proto\" prints the schema"),
];

/// The flag of that spelling.
pub fn find(spelling: &str) -> Option<&'static ReferenceFlag> {
    REFERENCE_FLAGS.iter().find(|flag| flag.name == spelling)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::Flag;

    #[test]
    fn none_is_listed_twice_or_is_a_flag_of_ours() {
        for (i, flag) in REFERENCE_FLAGS.iter().enumerate() {
            assert!(Flag::find(flag.name).is_none(), "{}", flag.name);
            assert!(
                REFERENCE_FLAGS[..i].iter().all(|other| other.name != flag.name),
                "{}",
                flag.name
            );
        }
    }
}
