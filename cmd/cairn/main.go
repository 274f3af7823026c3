// Command cairn adds files to a repository of content-addressed blocks, reads
// them back, names what is to be kept, and looks after the repository: one
// file here for each command. "cairn help" lists them.
//
// Where a daemon serves the repository ("cairn serve", serve.go), commands work
// through its API; else they open the repository themselves, for as long as they
// run. Which of the two it is, repo.go decides; commands see a repo
// (repository.go), and say and do the same in both cases. What is printed, on
// which stream, and the exit statuses follow one manner, which ui.go states once.
//
// The key types are app, one run of the program, and repo. Nothing is shared
// between runs, so that tests may have several; one run is one goroutine, but for
// progress and what a daemon serves.
//
// It has no logic of its own beyond that: blocks are the business of package
// store, files of internal/unixfs, the network of package cairn, and the API of
// internal/rpc.
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
