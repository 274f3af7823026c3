// Package bench measures what Cairn is meant to be fast at, each piece of work
// beside a yardstick in the same run. All of it is tests: the package itself
// is empty.
//
// The key type is figure: one piece of work, that yields rows of the table in
// docs/performance.md. There are three ways to run them:
//
//   - go test runs each figure once at a size at which it takes no time, so
//     that none rots;
//   - go test -bench runs them at a small size, as benchmarks;
//   - make bench runs them at full size (flag -full), prints the table and
//     writes it to docs/performance.md (flag -report). It takes some minutes
//     and some gigabytes below TMPDIR, which should be on the disk that is to
//     be measured.
//
// The two sides of a comparison take turns, and the best of three counts:
// machines are shared, and compare well only with themselves. Nothing runs
// concurrently but what a figure is about.
//
// The package asserts no time, and it is not where a single function is
// tuned: benchmarks of that kind live beside their function.
package bench
