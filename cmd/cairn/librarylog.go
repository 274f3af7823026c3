package main

import (
	"bufio"
	"context"
	"log"
	"log/slog"
	"os"
	"sync"

	golog "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
)

// takeLibraryLogs has what libraries would write to stderr by themselves (go-libp2p
// and quic-go, the DHT and boxo, mDNS: each in another way) told to the logger, as
// details. Their settings are the process's, and so is this: it is for the program
// alone. The function that it returns ends what it began.
func takeLibraryLogs(to *slog.Logger) (stop func()) {
	detail := demoted{to.Handler()}
	gologshim.SetDefaultHandler(detail)
	log.SetOutput(slog.NewLogLogger(detail, slog.LevelWarn).Writer())
	log.SetFlags(0)
	golog.SetupLogging(golog.Config{Level: golog.LevelWarn}) // and no output
	lines := golog.NewPipeReader(golog.PipeFormat(golog.PlaintextOutput))
	var reading sync.WaitGroup
	reading.Go(func() {
		in := bufio.NewScanner(lines)
		for in.Scan() {
			to.Debug("library", "says", in.Text())
		}
	})
	return func() {
		_ = lines.Close() // nothing of it is kept
		reading.Wait()
		log.SetOutput(os.Stderr)
	}
}

// demoted takes what is worth a line to a library for a detail, and the library's
// own details for nothing.
type demoted struct{ slog.Handler }

func (d demoted) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo && d.Handler.Enabled(ctx, slog.LevelDebug)
}

func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

func (d demoted) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demoted{d.Handler.WithAttrs(attrs)}
}

func (d demoted) WithGroup(name string) slog.Handler { return demoted{d.Handler.WithGroup(name)} }
