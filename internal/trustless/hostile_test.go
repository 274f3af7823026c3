package trustless

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
)

// soon is a Stall for servers that send nothing.
const soon = 50 * time.Millisecond

// TestBadServers asks servers that break the protocol.
func TestBadServers(t *testing.T) {
	leaf := rawBlock(t, []byte("leaf"))
	section := func(w io.Writer, c cid.Cid, data []byte) {
		w.Write(append(car.AppendSection(nil, c, len(data)), data...))
	}
	carHead := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", typeCAR)
		car.NewWriter(w, []cid.Cid{leaf.CID()})
	}
	stall := func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	for _, c := range []struct {
		name       string
		block, dag error // what they fail with; nil: any error
		serve      func(w http.ResponseWriter, r *http.Request)
	}{
		{"no answer", ErrStalled, ErrStalled, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"headers and no more", ErrStalled, ErrStalled, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", typeCAR)
			stall(w, r)
		}},
		{"half and no more", ErrStalled, ErrStalled, func(w http.ResponseWriter, r *http.Request) {
			carHead(w)
			w.Write(car.AppendSection(nil, leaf.CID(), 4))
			stall(w, r)
		}},
		{"other bytes", block.ErrHashMismatch, block.ErrHashMismatch, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("format") == "car" {
				carHead(w)
				section(w, leaf.CID(), []byte("fake"))
			}
			io.WriteString(w, "fake")
		}},
		{"a web page", block.ErrHashMismatch, ErrProtocol, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "<html>")
		}},
		{"too much", block.ErrTooLarge, block.ErrTooLarge, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("format") == "car" {
				carHead(w)
				w.Write(binary.AppendUvarint(nil, 1<<40))
			}
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}},
		{"a length too large", block.ErrTooLarge, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000000000000")
			carHead(w)
		}},
		{"cut off", io.ErrUnexpectedEOF, io.ErrUnexpectedEOF, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("format") == "raw" {
				w.Header().Set("Content-Length", "4")
				io.WriteString(w, "le")
			} else {
				carHead(w)
				w.Write(car.AppendSection(nil, leaf.CID(), 4))
			}
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"to another host", ErrRedirect, ErrRedirect, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://localhost:1/", http.StatusFound)
		}},
		{"to another scheme", ErrRedirect, ErrRedirect, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "ftp://"+r.Host+"/", http.StatusFound)
		}},
		{"in circles", ErrProtocol, ErrProtocol, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.String(), http.StatusFound)
		}},
		{"headers without end", nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
		}},
		{"packed", ErrProtocol, ErrProtocol, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			carHead(w)
		}},
		{"a have that nobody has", block.ErrHashMismatch, ErrProtocol, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(headerHave, leaf.CID().String())
			carHead(w)
		}},
		{"no leaves, unasked", block.ErrHashMismatch, ErrProtocol, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(headerLeaves, "n")
			carHead(w)
		}},
		{"a CAR of version 7", block.ErrHashMismatch, ErrProtocol, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", typeCAR+"; version=7")
			io.WriteString(w, "x")
		}},
	} {
		for name, transport := range map[string]func(testing.TB, http.Handler) endpoint{"http": overHTTP, "streams": overStreams} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				e := transport(t, http.HandlerFunc(c.serve))
				if errors.Is(c.block, ErrStalled) { // the others have something to read
					e.client.Stall = soon
				}
				if b, err := e.client.Block(t.Context(), leaf.CID()); err == nil || c.block != nil && !errors.Is(err, c.block) {
					t.Errorf("Block: got %d bytes and %v, want %v", b.Size(), err, c.block)
				}
				if got, _, err := collect(t, e.client, leaf.CID(), Request{}); err == nil || c.dag != nil && !errors.Is(err, c.dag) {
					t.Errorf("DAG: got %d blocks and %v, want %v", len(got), err, c.dag)
				}
				eventually(t, "streams closed", e.idle)
			})
		}
	}
}

// TestRedirect follows a redirect within a host.
func TestRedirect(t *testing.T) {
	leaf := rawBlock(t, []byte("leaf"))
	e := overHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/moved/") {
			http.Redirect(w, r, "/moved"+r.URL.String(), http.StatusFound)
			return
		}
		w.Write(leaf.Data())
	}))
	if _, err := e.client.Block(t.Context(), leaf.CID()); err != nil {
		t.Error(err)
	}
}

// TestStatus distinguishes a server's refusals.
func TestStatus(t *testing.T) {
	status, after := 0, ""
	e := overHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", after)
		http.Error(w, strings.Repeat("no\xff", 1000), status)
	}))
	for _, c := range []struct {
		status   int
		after    string
		wait     time.Duration
		notFound bool
	}{
		{404, "", 0, true}, {410, "", 0, true}, {451, "", 0, true}, {412, "", 0, true},
		{429, "7", 7 * time.Second, false}, {503, "100000000", time.Hour, false}, {503, "-1", 0, false},
		{500, "Thu, 01 Jan 1970 00:00:00 GMT", 0, false}, {502, "x", 0, false},
	} {
		status, after = c.status, c.after
		_, err := e.client.Block(t.Context(), rawBlock(t, nil).CID())
		var s *StatusError
		if !errors.As(err, &s) || s.Status != c.status || s.RetryAfter != c.wait || errors.Is(err, block.ErrNotFound) != c.notFound {
			t.Errorf("%d, %q: got %+v (not found: %v), want %s, %v", c.status, c.after, s, errors.Is(err, block.ErrNotFound), c.wait, c.notFound)
		}
		if s != nil && len(s.Message) > 2*maxMessage {
			t.Errorf("got a message of %d bytes", len(s.Message))
		}
	}
}

// TestSlowClients opens connections and streams, and sends or reads hardly anything:
// the server must close them.
func TestSlowClients(t *testing.T) {
	store := &blocks{}
	root := addFile(t, store, random(40<<20, 1), wide())
	ended := make(chan struct{}, 1)
	h := NewHandler(Config{Blocks: store, WriteTimeout: soon})
	watched := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { ended <- struct{}{} }()
		h.ServeHTTP(w, r)
	})
	request := "GET /ipfs/" + root.String() + "?format=car HTTP/1.1\r\nHost: x\r\n\r\n"

	t.Run("http, reads nothing", func(t *testing.T) {
		server := httptest.NewServer(watched)
		defer server.Close()
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, request)
		<-ended
	})
	// Ordinary requests have time to arrive.
	server, impatient, client := newHost(t), newHost(t), newHost(t)
	closeServer := Serve(server, watched, ServeConfig{WriteTimeout: soon, MaxEach: 3})
	defer closeServer()
	closeImpatient := Serve(impatient, watched, ServeConfig{HeaderTimeout: soon, MaxEach: 3})
	defer closeImpatient()
	connect(t, client, server)
	connect(t, client, impatient)
	open := func(server host.Host) network.Stream {
		s, err := client.NewStream(t.Context(), server.ID(), StreamProtocol)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Reset() })
		return s
	}
	gone := func() bool { return streams(server)+streams(impatient) == 0 }
	t.Run("stream, reads nothing", func(t *testing.T) {
		io.WriteString(open(server), request)
		<-ended
		eventually(t, "the stream is gone", gone)
	})
	t.Run("stream, sends nothing", func(t *testing.T) {
		s := open(impatient)
		io.WriteString(s, "GET /ip")
		io.Copy(io.Discard, s) // until the server ends it
		eventually(t, "the stream is gone", gone)
	})
	t.Run("stream, sends a body bit by bit", func(t *testing.T) {
		for answered := false; !answered; { // the head may be late, too
			s := open(impatient)
			io.WriteString(s, "POST /ipfs/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
			io.Copy(io.Discard, s) // until the server ends it
			select {
			case <-ended:
				answered = true
			default:
			}
		}
		eventually(t, "the stream is gone", gone)
	})
	t.Run("stream, headers without end", func(t *testing.T) {
		s := open(impatient)
		io.WriteString(s, "GET / HTTP/1.1\r\nX: ")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, err := s.Write(bytes.Repeat([]byte("x"), 1<<12)); err != nil {
					return
				}
			}
		}()
		io.Copy(io.Discard, s) // until the server ends it
		eventually(t, "the stream is gone", gone)
		s.Reset()
		<-done
	})
}

// TestStreamsOfOnePeer opens more streams than one peer may have.
func TestStreamsOfOnePeer(t *testing.T) {
	server, client := newHost(t), newHost(t)
	block, entered := make(chan struct{}), make(chan struct{}, 10)
	closeAll := Serve(server, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-block
	}), ServeConfig{MaxEach: 2})
	defer closeAll()
	connect(t, client, server)
	c := http.Client{Transport: Transport(client, server.ID())}
	get := func() error {
		r, err := c.Get(StreamURL(server.ID()).JoinPath("x").String())
		if err == nil {
			r.Body.Close()
		}
		return err
	}
	done := make(chan error)
	for range 2 {
		go func() { done <- get() }()
		<-entered
	}
	if err := get(); err == nil {
		t.Error("a third stream was served, want it reset")
	}
	close(block)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	eventually(t, "streams closed", func() bool { return streams(server) == 0 && streams(client) == 0 })
	if err := get(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestServeCloses ends a server with requests under way, and expects no stream and
// no goroutine to be left.
func TestServeCloses(t *testing.T) {
	server, client := newHost(t), newHost(t)
	connect(t, client, server)
	rt := Transport(client, server.ID())
	settled := func() int {
		n := runtime.NumGoroutine()
		for same := 0; same < 5; {
			time.Sleep(5 * time.Millisecond)
			if now := runtime.NumGoroutine(); now == n {
				same++
			} else {
				n, same = now, 0
			}
		}
		return n
	}
	before := settled()
	for range 3 {
		entered := make(chan struct{})
		closeAll := Serve(server, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
		}), ServeConfig{})
		done := make(chan error)
		go func() {
			_, err := (&http.Client{Transport: rt}).Get(StreamURL(server.ID()).JoinPath("x").String())
			done <- err
		}()
		<-entered
		if err := closeAll(); err != nil {
			t.Error(err)
		}
		if err := <-done; err == nil {
			t.Error("got an answer of a handler that was cut off")
		}
		if err := closeAll(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
	}
	eventually(t, "streams closed", func() bool { return streams(server) == 0 && streams(client) == 0 })
	eventually(t, "goroutines ended", func() bool { return settled() <= before })
}

// TestCanceledStreams cancels many responses. (go-libp2p's server leaks a stream for
// each.)
func TestCanceledStreams(t *testing.T) {
	store := &blocks{}
	root := addFile(t, store, random(8<<20, 1), wide())
	e := overStreams(t, NewHandler(Config{Blocks: store}))
	if _, err := e.client.Block(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	eventually(t, "streams closed", e.idle)
	before := runtime.NumGoroutine()
	for i := range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := e.client.DAG(ctx, root, Request{})
		if err != nil {
			t.Fatal(err)
		}
		for range r.Blocks() {
			break
		}
		if i%2 == 0 {
			cancel()
		}
		r.Close()
		cancel()
	}
	eventually(t, "streams closed", e.idle)
	eventually(t, "goroutines ended", func() bool { return runtime.NumGoroutine() <= before+2 })
}

// TestBadBase expects errors, and no panic, from invalid bases.
func TestBadBase(t *testing.T) {
	c := &Client{HTTP: &http.Client{Transport: NewHTTPTransport(nil)}, Base: &url.URL{Scheme: "gopher", Host: "x"}}
	if _, err := c.Block(t.Context(), rawBlock(t, []byte("x")).CID()); err == nil {
		t.Error("got a block over gopher")
	}
	if _, err := c.Block(t.Context(), cid.Undef); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("no CID: got %v, want ErrMalformed", err)
	}
	if _, err := c.DAG(t.Context(), rawBlock(t, nil).CID(), Request{Scope: ScopeBlock, NoLeaves: true}); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("an invalid request: got %v, want ErrMalformed", err)
	}
}

// TestEndOfContext ends the contexts of requests, as a shutdown does: no CAR ends as
// if it were complete.
func TestEndOfContext(t *testing.T) {
	store := &blocks{}
	root := addFile(t, store, random(4<<20, 1), small())
	cut := func() {}
	store.hold = func(context.Context, cid.Cid) {
		if store.gets.Load() >= 5 {
			cut()
		}
	}
	h := NewHandler(Config{Blocks: store})
	at := overHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		cut = cancel
		h.ServeHTTP(w, r.WithContext(ctx))
	}))
	for range 3 {
		store.gets.Store(0)
		blocks, _, err := collect(t, at.client, root, Request{})
		if err == nil {
			t.Errorf("got %d blocks and no error, want an error", len(blocks))
		}
	}
}
