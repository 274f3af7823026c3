// Command cairn adds files to a repository of content-addressed blocks, reads
// them back, names what is to be kept, and looks after the repository: one
// file here for each command. "cairn help" lists them.
//
// It opens the repository itself (repo.go), for as long as a command runs; one
// process at a time may have it open. What it prints, on which stream, and its
// exit statuses follow one manner, which ui.go states once.
//
// The key type is app, one run of the program. Nothing is shared between runs,
// so that tests may have several; one run is one goroutine, but for progress.
//
// It has no logic of its own beyond that: blocks are the business of package
// store, files of internal/unixfs. It runs no daemon and uses no network.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(mainExit()) }

// mainExit is main up to the exit status.
func mainExit() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first Ctrl-C ends the command in good order, a second one at once.
	defer context.AfterFunc(ctx, stop)()
	return run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.LookupEnv)
}
