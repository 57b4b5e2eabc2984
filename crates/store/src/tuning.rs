//! RocksDB's settings: a node idles small, so every cache and buffer has a bound here.

use crate::{Environment, Keyspace, Options};
use rocksdb::{BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel};

/// Blocks, indexes and filters that are kept in memory, all keyspaces together.
const CACHE_BYTES_MAX: usize = 16 << 20;
/// What is written and not yet in a table, all keyspaces together.
const WRITE_BUFFERS_BYTES_MAX: usize = 32 << 20;
/// Memory that a keyspace takes at a time for what is written to it.
const ARENA_BYTES: usize = 128 << 10;
/// A write-ahead log that grows beyond this has its keyspaces flushed.
const WRITE_AHEAD_LOG_BYTES_MAX: u64 = 64 << 20;
const OPEN_FILES_MAX: i32 = 256;
const BACKGROUND_JOBS_MAX: i32 = 2;
const INFO_LOG_BYTES_MAX: usize = 1 << 20;
const INFO_LOGS_MAX: usize = 2;
const MANIFEST_PREALLOCATION_BYTES: usize = 64 << 10;
const TABLE_BLOCK_BYTES: usize = 16 << 10;
/// Clearing away what was removed rewrites whole tables.
const TABLE_BYTES: u64 = 16 << 20;
const TABLE_FORMAT: i32 = 6;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// The share of a write buffer that its own filter takes, where keys are mostly absent.
const MEMTABLE_BLOOM_SHARE: f64 = 0.02;
/// A value below this stands in the table itself.
const BLOB_BYTES_MIN: u64 = 1 << 10;
const BLOB_FILE_BYTES: u64 = 64 << 20;

/// Settings of the whole database.
pub(crate) fn database(options: &Options) -> rocksdb::Options {
    let mut database = rocksdb::Options::default();
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    database.set_max_open_files(OPEN_FILES_MAX);
    database.set_max_background_jobs(BACKGROUND_JOBS_MAX);
    database.set_db_write_buffer_size(WRITE_BUFFERS_BYTES_MAX);
    database.set_max_total_wal_size(WRITE_AHEAD_LOG_BYTES_MAX);
    database.set_manifest_preallocation_size(MANIFEST_PREALLOCATION_BYTES);
    // The tail of the log may hold a batch that was never acknowledged; damage anywhere else is an error and is
    // not skipped.
    database.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    database.set_log_level(LogLevel::Warn);
    database.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    database.set_keep_log_file_num(INFO_LOGS_MAX);
    database.set_stats_dump_period_sec(0);
    database.set_stats_persist_period_sec(0);
    if let Environment::Memory(disk) = &options.environment {
        database.set_env(&disk.0);
    }
    database
}

/// The cache that all keyspaces of a database share.
pub(crate) fn cache() -> Cache {
    Cache::new_lru_cache(CACHE_BYTES_MAX)
}

/// Settings of one keyspace.
pub(crate) fn keyspace(keyspace: &Keyspace, cache: &Cache) -> rocksdb::Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(TABLE_BLOCK_BYTES);
    table.set_format_version(TABLE_FORMAT);
    // Indexes and filters are read in parts through the cache, so that their size is bounded by it.
    table.set_cache_index_and_filter_blocks(true);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_pin_top_level_index_and_filter(false);
    table.set_optimize_filters_for_memory(true);
    let mut family = rocksdb::Options::default();
    family.set_arena_block_size(ARENA_BYTES);
    family.set_write_buffer_size(WRITE_BUFFERS_BYTES_MAX);
    family.set_target_file_size_base(TABLE_BYTES);
    family.set_compression_type(DBCompressionType::Zstd);
    if keyspace.points {
        table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
        table.set_data_block_index_type(rocksdb::DataBlockIndexType::BinaryAndHash);
        // Keys that are asked for one by one are hashes, which compression cannot shorten.
        family.set_compression_type(DBCompressionType::Lz4);
        family.set_memtable_whole_key_filtering(true);
        family.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_SHARE);
    }
    if keyspace.blobs {
        family.set_enable_blob_files(true);
        family.set_min_blob_size(BLOB_BYTES_MIN);
        family.set_blob_file_size(BLOB_FILE_BYTES);
        family.set_blob_compression_type(DBCompressionType::None);
        family.set_enable_blob_gc(true);
    }
    family.set_block_based_table_factory(&table);
    family
}
