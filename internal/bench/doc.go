// Package bench measures the operations that Cairn is meant to be fast at, each
// beside a yardstick in the same run. The package itself is empty: all of it is
// tests.
//
// The key type is figure: it measures one operation, and returns rows of the table
// in docs/performance.md. There are three ways to run the figures:
//
//   - go test runs each figure once at a tiny size, so that none goes stale;
//   - go test -bench runs them at a small size, as benchmarks;
//   - make bench runs them at full size (flag -full), prints the table, and writes
//     it to docs/performance.md (flag -report). That takes some minutes, and some
//     gigabytes below TMPDIR, which should be on the disk to be measured.
//
// The two sides of a comparison take turns, and the best of three rounds counts:
// machines are shared, and comparable only with themselves. A figure runs nothing
// concurrently except what it measures.
//
// The package asserts no times, and it is not for tuning a single function: such
// benchmarks stand beside their function.
package bench
