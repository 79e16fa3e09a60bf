-- What redo has made is read, and written to.
SELECT count(*) FROM topics.plain;
SELECT count(*), sum(length(value)) FROM topics.zstd;
SELECT eventlog.produce('lz4', 'after', 'the crash');
SELECT count(*) FROM topics.lz4;
SELECT count(*) FROM eventlog.consume('g', 'lz4', 10);
SELECT eventlog.drop_topic('zstd');
DROP EXTENSION pg_eventlog CASCADE;
