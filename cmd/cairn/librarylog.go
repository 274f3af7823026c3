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

// redirectLibraryLogs sends the libraries' own log lines to a logger, at level
// debug: go-libp2p, quic-go, the DHT, boxo and mDNS write to stderr by default,
// each in another way. The settings are global: only the program may call it,
// once at a time. Stop ends the redirection.
func redirectLibraryLogs(to *slog.Logger) (stop func()) {
	detail := detailHandler{to.Handler()}
	gologshim.SetDefaultHandler(detail)
	log.SetOutput(slog.NewLogLogger(detail, slog.LevelWarn).Writer())
	log.SetFlags(0)
	golog.SetupLogging(golog.Config{Level: golog.LevelWarn}) // without an output
	lines := golog.NewPipeReader(golog.PipeFormat(golog.PlaintextOutput))
	var reading sync.WaitGroup
	reading.Go(func() {
		in := bufio.NewScanner(lines)
		for in.Scan() {
			to.Debug("library", "says", in.Text())
		}
	})
	return func() {
		_ = lines.Close() // the rest is discarded
		reading.Wait()
		log.SetOutput(os.Stderr)
	}
}

// A detailHandler logs records of level info and above at level debug, and
// discards others.
type detailHandler struct{ slog.Handler }

func (d detailHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo && d.Handler.Enabled(ctx, slog.LevelDebug)
}

func (d detailHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

func (d detailHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return detailHandler{d.Handler.WithAttrs(attrs)}
}

func (d detailHandler) WithGroup(name string) slog.Handler {
	return detailHandler{d.Handler.WithGroup(name)}
}
