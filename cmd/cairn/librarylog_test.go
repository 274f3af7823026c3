package main

import (
	"bytes"
	"log"
	"log/slog"
	"strings"
	"sync"
	"testing"

	golog "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
)

// A lockedBuffer is a stderr for concurrent writers.
type lockedBuffer struct {
	mu     sync.Mutex // guards the following
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// TestLibraryLogs has each library log in its own way.
func TestLibraryLogs(t *testing.T) {
	for _, tt := range []struct {
		level slog.Level
		shown bool
	}{{slog.LevelInfo, false}, {slog.LevelDebug, true}} {
		var stderr lockedBuffer
		stop := redirectLibraryLogs(slog.New(slog.NewTextHandler(&stderr, &slog.HandlerOptions{Level: tt.level})))
		complaints := []string{"of libp2p " + tt.level.String(), "with attributes " + tt.level.String(), "of the DHT " + tt.level.String(), "of quic-go " + tt.level.String()}
		shim := gologshim.Logger("test " + tt.level.String())
		shim.Error(complaints[0])
		shim.Debug("a library's own detail")
		shim.With("a", "b").WithGroup("c").Warn(complaints[1])
		golog.Logger("test").Error(complaints[2])
		golog.Logger("test").Debug("a library's own detail")
		log.Print(complaints[3])
		stop()
		said := stderr.String()
		for _, c := range complaints {
			if strings.Contains(said, c) != tt.shown {
				t.Errorf("level %v: got %q, want %q in it: %v", tt.level, said, c, tt.shown)
			}
		}
		if lines := strings.Count(said, "\n"); tt.shown && (lines != len(complaints) || strings.Count(said, "level=DEBUG") != lines) {
			t.Errorf("level %v: got %q, want %d lines of level DEBUG", tt.level, said, len(complaints))
		}
	}
}
