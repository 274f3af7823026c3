// Command cairn adds files to a repository of content-addressed blocks, reads
// them back, names what is to be kept, and looks after the repository: one
// file here for each command. "cairn help" lists them.
//
// If a daemon serves the repository ("cairn serve", serve.go), commands work
// through it; otherwise they open the repository themselves, for as long as they
// run. repo.go decides which; commands get a repo, and behave the same in both
// cases. Output, messages and exit statuses follow one manner, which ui.go states
// once.
//
// The key types are app, one run of the program, and repo. Runs share nothing, so
// that tests may have several; one run is one goroutine, except for progress and
// what a daemon serves.
//
// The package has no logic beyond that: blocks are the subject of package store,
// files of internal/unixfs, the network of package cairn, and what is done with a
// node, here or in a daemon, of internal/control.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// sameSignal is for how long after a signal another one is the same: wrappers
// (timeout, sudo, those of containers) pass on what the whole group of processes
// was sent already.
const sameSignal = 250 * time.Millisecond

func main() { os.Exit(mainExit()) }

// mainExit is main up to the exit status.
func mainExit() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first Ctrl-C ends the command in good order, a second one at once. There's
	// no other stop: one that came while the process exits would be its status.
	defer context.AfterFunc(ctx, func() { time.AfterFunc(sameSignal, stop) })()
	return run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.LookupEnv)
}
