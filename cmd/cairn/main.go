// Command cairn adds files to a repository of content-addressed blocks, reads
// them back, keeps them under names, and maintains the repository. "cairn help"
// lists the commands. Each has a file here, or shares one with related commands.
//
// If a daemon serves the repository ("cairn serve", serve.go), commands work
// through it. Otherwise they open the repository themselves, for as long as they
// run. repo.go decides which: commands get a repo, and behave the same in both
// cases. ui.go states the rules of output, messages and exit statuses.
//
// The key types are app, one run of the program, and repo. Runs share nothing, so
// tests have several in one process. A run is one goroutine, except for progress
// and what a daemon serves.
//
// The package parses flags and prints results. internal/control has the verbs
// that commands do on a node, here or in a daemon. Package cairn is the node.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// repeatedSignal is how long after a signal another one is a repetition: wrappers
// (timeout, sudo, containers) forward signals that the whole process group got
// already.
const repeatedSignal = 250 * time.Millisecond

func main() { os.Exit(mainExit()) }

// mainExit runs the program, and returns its exit status.
func mainExit() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first Ctrl-C cancels the command, a second one kills the process. Nothing
	// else calls stop: a signal during the exit would change the exit status.
	defer context.AfterFunc(ctx, func() { time.AfterFunc(repeatedSignal, stop) })()
	return run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.LookupEnv)
}
