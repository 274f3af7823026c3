package swarm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

func open(t testing.TB, s *Swarm, name string) *Topic {
	t.Helper()
	topic, err := s.Topic(name, TopicOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { topic.Close() })
	return topic
}

// first waits for the topic's next message.
func first(t testing.TB, topic *Topic) Message {
	t.Helper()
	for m, err := range topic.Messages(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	t.Fatal("the topic has ended")
	return Message{}
}

// three makes a line of swarms: the first and the last know the middle alone.
func three(t testing.TB) [3]*Swarm {
	t.Helper()
	line := [3]*Swarm{local(t, Config{}), local(t, Config{}), local(t, Config{})}
	connect(t, line[0], line[1])
	connect(t, line[1], line[2])
	for i := range 2 {
		knows(t, line[i], line[i+1])
		knows(t, line[i+1], line[i])
	}
	return line
}

// knows waits until one knows that the other takes broadcasts.
func knows(t testing.TB, one, other *Swarm) {
	t.Helper()
	eventually(t, "it's known what the other speaks", func() bool {
		return slices.Contains(one.Peer(other.ID()).Protocols, broadcastProtocol)
	})
}

func TestTopic(t *testing.T) {
	line := three(t)
	var topics []*Topic
	for _, s := range line {
		topics = append(topics, open(t, s, "news"))
	}
	second := open(t, line[2], "news") // a second reader in the same swarm
	eventually(t, "all know of each other", func() bool {
		return len(topics[0].Peers()) == 1 && len(topics[1].Peers()) == 2 && len(topics[2].Peers()) == 1
	})
	// Peers pass messages on when they have formed a mesh, which nothing tells.
	eventually(t, "the messages get through", func() bool {
		if err := topics[0].Publish(soon(t), []byte("test")); err != nil {
			t.Fatal(err)
		}
		for _, reader := range []*Topic{topics[1], second} { // leave room for what counts
			_, _ = reader.next()
		}
		_, ok := topics[2].next()
		return ok
	})
	// They may still come, and they needn't come in order.
	untested := func(topic *Topic) Message {
		t.Helper()
		for {
			if m := first(t, topic); string(m.Data) != "test" {
				return m
			}
		}
	}

	big := bytes.Repeat([]byte("x"), MaxMessage)
	for _, data := range [][]byte{[]byte("hello"), {}, big} {
		if err := topics[0].Publish(soon(t), data); err != nil {
			t.Fatal(err)
		}
		for i, topic := range []*Topic{topics[1], topics[2], second} {
			m := untested(topic)
			if m.From != line[0].ID() || !bytes.Equal(m.Data, data) || m.Direct || m.Lost != 0 {
				t.Errorf("reader %d: got %d bytes %.20q from %s (direct %v), want %d by gossip from %s", i, len(m.Data), m.Data, m.From, m.Direct, len(data), line[0].ID())
			}
			if via := line[min(i, 1)].ID(); m.Via != via {
				t.Errorf("reader %d: got it via %s, want %s", i, m.Via, via)
			}
		}
	}
	if err := topics[0].Publish(soon(t), append(big, 'x')); err == nil {
		t.Error("a message over the limit: got no error")
	}
	if m, ok := topics[0].next(); ok {
		t.Errorf("the publisher got its own message %.20q", m.Data)
	}

	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Publish(soon(t), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("publish on a closed topic: got %v, want %v", err, ErrClosed)
	}
	if err := topics[2].Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last one has left", func() bool { return len(topics[1].Peers()) == 1 })
	open(t, line[2], "news") // and back
	eventually(t, "the last one is back", func() bool { return len(topics[1].Peers()) == 2 })
}

// TestValid: what the one in the middle refuses comes neither to it nor to the
// one behind.
func TestValid(t *testing.T) {
	line := three(t)
	polite := TopicOptions{Valid: func(_ context.Context, m Message) bool {
		return m.From != "" && m.Via != "" && !bytes.HasPrefix(m.Data, []byte("rude"))
	}}
	first, middle, last := open(t, line[0], "news"), open(t, line[1], "news"), open(t, line[2], "news")
	strict, err := line[1].Topic("news", polite)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the messages get through", func() bool {
		if err := first.Publish(soon(t), []byte("test")); err != nil {
			t.Fatal(err)
		}
		_, ok := last.next()
		return ok
	})
	// until sends messages until one of the last kind is there, and returns what
	// came by then.
	until := func(kinds ...string) (seen map[string]bool) {
		seen = make(map[string]bool)
		for n := 0; ; n++ {
			for _, kind := range kinds {
				if err := first.Publish(soon(t), fmt.Appendf(nil, "%s %d", kind, n)); err != nil {
					t.Fatal(err)
				}
			}
			want := fmt.Sprintf("%s %d", kinds[len(kinds)-1], n)
			for m, err := range last.Messages(soon(t)) {
				if err != nil {
					t.Fatal(err)
				}
				kind, _, _ := strings.Cut(string(m.Data), " ")
				seen[kind] = true
				if string(m.Data) == want {
					break
				}
			}
			if n == 20 {
				return seen
			}
		}
	}
	if seen := until("rude", "kind"); seen["rude"] || !seen["kind"] {
		t.Errorf("behind the one that refuses: got %v, want what is kind alone", seen)
	}
	for _, topic := range []*Topic{middle, strict} {
		for m, ok := topic.next(); ok; m, ok = topic.next() {
			if bytes.HasPrefix(m.Data, []byte("rude")) {
				t.Errorf("at the one that refuses: got %q", m.Data)
			}
		}
	}
	if err := strict.Publish(soon(t), []byte("rude, and ours")); err == nil {
		t.Error("our own, refused: got no error")
	}
	for _, data := range []string{"rude", "kind"} {
		if n, err := line[0].Broadcast(soon(t), "news", []byte(data)); n != 1 || err != nil {
			t.Fatalf("broadcast: got %d, %v", n, err)
		}
	}
	for m, err := range strict.Messages(soon(t)) {
		if err != nil || m.Direct && string(m.Data) != "kind" {
			t.Errorf("a broadcast: got %q, %v", m.Data, err)
		}
		if m.Direct {
			break
		}
	}
	// The others in the same swarm are asked as long as they are there.
	if err := strict.Close(); err != nil {
		t.Fatal(err)
	}
	if seen := until("rude"); !seen["rude"] {
		t.Error("when nobody refuses: nothing came")
	}
}

// TestValidFromTheFirst opens a topic with a validator first, and again, which a
// topic that is left must allow.
func TestValidFromTheFirst(t *testing.T) {
	a, b := local(t, Config{}), local(t, Config{})
	connect(t, a, b)
	for range 3 {
		topic, err := b.Topic("x", TopicOptions{Valid: func(_ context.Context, m Message) bool { return string(m.Data) == "good" }})
		if err != nil {
			t.Fatal(err)
		}
		sender := open(t, a, "x")
		eventually(t, "a message gets through", func() bool {
			for _, data := range []string{"bad", "good"} {
				if err := sender.Publish(soon(t), []byte(data)); err != nil {
					t.Fatal(err)
				}
			}
			m, ok := topic.next()
			if ok && string(m.Data) != "good" {
				t.Errorf("got %q", m.Data)
			}
			return ok
		})
		if err := errors.Join(topic.Close(), sender.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestValidLate opens a topic once more while somebody is asked about a message:
// whoever wants to be asked, and wasn't, doesn't get it.
func TestValidLate(t *testing.T) {
	for _, direct := range []bool{false, true} {
		a, b := local(t, Config{}), local(t, Config{})
		connect(t, a, b)
		knows(t, a, b)
		asked, answer := make(chan struct{}), make(chan struct{})
		ask := sync.OnceFunc(func() { close(asked) })
		early, err := b.Topic("x", TopicOptions{Valid: func(ctx context.Context, _ Message) bool {
			ask()
			select {
			case <-answer:
			case <-ctx.Done():
			}
			return true
		}})
		if err != nil {
			t.Fatal(err)
		}
		sender := open(t, a, "x")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			if direct {
				sender.Broadcast(soon(t), []byte("bad"))
				return
			}
			eventually(t, "a message gets through", func() bool {
				sender.Publish(soon(t), []byte("bad"))
				select {
				case <-asked:
					return true
				default:
					return false
				}
			})
		}()
		<-asked
		late, err := b.Topic("x", TopicOptions{Valid: func(_ context.Context, m Message) bool { return string(m.Data) != "bad" }})
		if err != nil {
			t.Fatal(err)
		}
		close(answer)
		if m := first(t, early); string(m.Data) != "bad" {
			t.Errorf("direct %v: got %q, want what was sent", direct, m.Data)
		}
		if m, ok := late.next(); ok {
			t.Errorf("direct %v: got %q, and wasn't asked", direct, m.Data)
		}
		<-sent
	}
}

func TestTopicRefuses(t *testing.T) {
	s := local(t, Config{Listen: []string{}})
	for _, name := range []string{"", strings.Repeat("x", maxTopicName+1)} {
		if _, err := s.Topic(name, TopicOptions{}); err == nil {
			t.Errorf("topic %.10q: got no error", name)
		}
		if _, err := s.Broadcast(soon(t), name, nil); err == nil {
			t.Errorf("broadcast to %.10q: got no error", name)
		}
	}
	if _, err := s.Broadcast(soon(t), "x", make([]byte, MaxMessage+1)); err == nil {
		t.Error("broadcast over the limit: got no error")
	}
}

func TestMessagesEnd(t *testing.T) {
	s := local(t, Config{Listen: []string{}})
	topic := open(t, s, "x")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n := 0
	for _, err := range topic.Messages(ctx) {
		if n++; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	}
	if n != 1 {
		t.Errorf("got %d turns, want the error's", n)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range topic.Messages(context.Background()) {
		}
	}()
	topic.Close()
	<-ended
}

func TestBroadcast(t *testing.T) {
	line := three(t)
	outer, middle := open(t, line[2], "news"), open(t, line[1], "news")
	big := bytes.Repeat([]byte("x"), MaxMessage)
	for _, data := range [][]byte{[]byte("hello"), {}, big} {
		if n, err := line[1].Broadcast(soon(t), "news", data); n != 2 || err != nil {
			t.Fatalf("got %d peers, %v, want 2", n, err)
		}
		if m := first(t, outer); m.From != line[1].ID() || !bytes.Equal(m.Data, data) || !m.Direct {
			t.Errorf("got %d bytes from %s, want %d, direct from %s", len(m.Data), m.From, len(data), line[1].ID())
		}
	}
	// It's not passed on.
	if n, err := line[0].Broadcast(soon(t), "news", []byte("near")); n != 1 || err != nil {
		t.Fatalf("got %d peers, %v, want 1", n, err)
	}
	if m := first(t, middle); string(m.Data) != "near" || m.From != line[0].ID() {
		t.Errorf("got %q from %s, want %q", m.Data, m.From, "near")
	}
	if m, ok := outer.next(); ok {
		t.Errorf("got %q, which went to the peer between", m.Data)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := line[0].Broadcast(ctx, "news", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v, want %v", err, context.Canceled)
	}
}

// TestBroadcastHostile sends what isn't a broadcast.
func TestBroadcastHostile(t *testing.T) {
	a, b := local(t, Config{}), local(t, Config{})
	connect(t, a, b)
	topic := open(t, b, "x")
	good := appendBroadcast(nil, "x", []byte("data"))
	for name, bytes := range map[string][]byte{
		"cut":          good[:len(good)-1],
		"and more":     append(slices.Clone(good), 0),
		"long topic":   {0xff, 0xff, 0xff, 0xff, 0x0f, 'x'},
		"no topic":     appendBroadcast(nil, "", nil),
		"endless":      {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"large data":   {1, 'x', 0xff, 0xff, 0xff, 0x7f},
		"nothing sent": {},
	} {
		stream, err := a.host.NewStream(soon(t), b.ID(), broadcastProtocol)
		if err != nil {
			t.Fatal(err)
		}
		stream.Write(bytes)
		stream.CloseWrite()
		if _, err := io.ReadAll(stream); !errors.Is(err, network.ErrReset) {
			t.Errorf("%s: got %v, want %v", name, err, network.ErrReset)
		}
		stream.Reset()
	}
	if m, ok := topic.next(); ok {
		t.Errorf("delivered: %q", m.Data)
	}
	knows(t, a, b)
	if n, err := a.Broadcast(soon(t), "x", []byte("good")); n != 1 || err != nil {
		t.Errorf("after them: got %d, %v, want 1", n, err)
	}
}

// TestBroadcastsAreBounded has a peer begin as many broadcasts as it may, and end
// none: what is kept for them is bounded, if anybody here has the topic, and else
// nothing. Another peer's come.
func TestBroadcastsAreBounded(t *testing.T) {
	for _, opened := range []bool{true, false} {
		a, b := local(t, Config{}), local(t, Config{})
		connect(t, a, b)
		name := "x"
		if opened {
			open(t, b, name)
		}
		message := appendBroadcast(nil, name, make([]byte, MaxMessage))
		begun, rest := message[:len(message)-1], message[len(message)-1:]
		var streams []network.Stream
		for range broadcastStreams {
			stream, err := a.host.NewStream(soon(t), b.ID(), broadcastProtocol)
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Reset()
			stream.Write(begun)
			streams = append(streams, stream)
		}
		most := int64(0)
		if opened {
			most = broadcastMemory
			refused := make(chan error, len(streams))
			for _, stream := range streams {
				go func() {
					_, err := stream.Read(make([]byte, 1))
					refused <- err
				}()
			}
			for range broadcastStreams - broadcastMemory/MaxMessage {
				if err := <-refused; !errors.Is(err, network.ErrReset) {
					t.Errorf("a broadcast too many: got %v, want %v", err, network.ErrReset)
				}
			}
		}
		eventually(t, "what is kept is bounded", func() (bounded bool) {
			if err := b.host.Network().ResourceManager().ViewPeer(a.ID(), func(s network.PeerScope) error {
				bounded = s.Stat().Memory <= most
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return bounded
		})
		for _, stream := range streams {
			if opened {
				break
			}
			if _, err := stream.Write(rest); err != nil {
				t.Fatal(err)
			}
			stream.CloseWrite()
			if _, err := io.ReadAll(stream); err != nil {
				t.Errorf("a broadcast that nobody reads: got %v, want it taken", err)
			}
		}
		c := local(t, Config{})
		connect(t, c, b)
		if n, err := c.Broadcast(soon(t), name, make([]byte, MaxMessage)); n != 1 || err != nil {
			t.Errorf("another peer's: got %d, %v, want 1", n, err)
		}
	}
}

// TestBroadcastsOfOthers has as many peers as the memory for broadcasts is for say
// that they'll send as much as they may, and send little of it: another's comes.
func TestBroadcastsOfOthers(t *testing.T) {
	b := local(t, Config{})
	topic := open(t, b, "x")
	begun := appendBroadcast(nil, "x", make([]byte, MaxMessage))[:broadcastPiece/2]
	var peers []*Swarm // all before the first begins: they have broadcastPatience
	for range broadcastInAll/broadcastMemory + 1 {
		peers = append(peers, local(t, Config{}))
		connect(t, peers[len(peers)-1], b)
	}
	c, peers := peers[0], peers[1:]
	for _, a := range peers {
		for range broadcastMemory / MaxMessage {
			stream, err := a.host.NewStream(soon(t), b.ID(), broadcastProtocol)
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Reset()
			if _, err := stream.Write(begun); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "there's memory for all that began", func() (reserved bool) {
		if err := b.host.Network().ResourceManager().ViewProtocol(broadcastProtocol, func(s network.ProtocolScope) error {
			reserved = s.Stat().Memory >= broadcastInAll/MaxMessage*broadcastPiece
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return reserved
	})
	if n, err := c.Broadcast(soon(t), "x", make([]byte, MaxMessage)); n != 1 || err != nil {
		t.Fatalf("got %d, %v, want 1", n, err)
	}
	if m := first(t, topic); m.From != c.ID() || len(m.Data) != MaxMessage {
		t.Errorf("got %d bytes from %v, want %d from %v", len(m.Data), m.From, MaxMessage, c.ID())
	}
}

// A slowStream sends its message, and then waits for as long as it may.
type slowStream struct {
	network.Stream // nil
	message        []byte
	deadline       time.Time
}

func (s *slowStream) Scope() network.StreamScope         { return &network.NullScope{} }
func (s *slowStream) SetDeadline(at time.Time) error     { s.deadline = at; return nil }
func (s *slowStream) SetReadDeadline(at time.Time) error { return s.SetDeadline(at) }

func (s *slowStream) Read(p []byte) (int, error) {
	if len(s.message) > 0 {
		n := copy(p, s.message)
		s.message = s.message[n:]
		return n, nil
	}
	time.Sleep(time.Until(s.deadline))
	return 0, os.ErrDeadlineExceeded
}

// TestSlowBroadcast waits neither for a piece, nor for the end, for as long as for
// a whole message.
func TestSlowBroadcast(t *testing.T) {
	whole := appendBroadcast(nil, "x", make([]byte, 3*broadcastPiece))
	for _, sent := range []int{broadcastPiece / 2, 2 * broadcastPiece, len(whole)} {
		synctest.Test(t, func(t *testing.T) {
			s := &Swarm{gossip: gossip{topics: map[string]*joined{"x": {readers: map[*Topic]struct{}{nil: {}}}}}}
			began := time.Now()
			err := s.takeBroadcast(&slowStream{message: whole[:sent]}, "")
			if took := time.Since(began); err == nil || took != broadcastPatience {
				t.Errorf("%d bytes sent: got %v after %v, want an error after %v", sent, err, took, broadcastPatience)
			}
		})
	}
}

// TestCloseWaitsForValid closes a swarm while messages are validated, by gossip and
// by broadcast: nobody is asked any more when it's closed.
func TestCloseWaitsForValid(t *testing.T) {
	for _, direct := range []bool{false, true} {
		a, b := local(t, Config{}), local(t, Config{})
		connect(t, a, b)
		knows(t, a, b)
		asked := make(chan struct{}, 1)
		var asking atomic.Int64
		_, err := b.Topic("x", TopicOptions{Valid: func(ctx context.Context, m Message) bool {
			asking.Add(1)
			defer asking.Add(-1)
			select {
			case asked <- struct{}{}:
			default:
			}
			<-ctx.Done()
			for range 100 { // it takes its time
				sha256.Sum256(make([]byte, 1<<20))
			}
			return false
		}})
		if err != nil {
			t.Fatal(err)
		}
		topic := open(t, a, "x")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			if direct {
				topic.Broadcast(soon(t), []byte("x"))
				return
			}
			eventually(t, "a message gets through", func() bool {
				topic.Publish(soon(t), []byte("x"))
				return len(asked) > 0 || asking.Load() > 0 || b.ctx.Err() != nil
			})
		}()
		<-asked
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if n := asking.Load(); n != 0 {
			t.Errorf("direct %v: %d are asked still when the swarm is closed", direct, n)
		}
		<-sent
	}
}

// TestTopicIsBounded has a reader that doesn't read.
func TestTopicIsBounded(t *testing.T) {
	s := local(t, Config{Listen: []string{}})
	topic := open(t, s, "x")
	from := somebody(t)
	send := func(n int) { s.gossip.deliver("x", Message{From: from, Data: make([]byte, n)}, nil) }
	for range maxQueued + 5 {
		send(1)
	}
	for range maxQueued {
		if m := first(t, topic); m.Lost != 0 {
			t.Fatalf("got %d lost too early", m.Lost)
		}
	}
	for range 6 {
		send(MaxMessage)
	}
	if m := first(t, topic); m.Lost != 5 {
		t.Errorf("lost: got %d, want 5", m.Lost)
	}
	for range 3 {
		first(t, topic)
	}
	send(1)
	if m := first(t, topic); m.Lost != 2 {
		t.Errorf("lost for their size: got %d, want 2", m.Lost)
	}
}

// TestManyTopics opens and closes topics from many goroutines.
func TestManyTopics(t *testing.T) {
	a, b := local(t, Config{}), local(t, Config{})
	connect(t, a, b)
	done := make(chan error)
	for i := range 16 {
		go func() {
			for range 4 {
				topic, err := a.Topic(fmt.Sprint("topic ", i%4), TopicOptions{})
				if err == nil {
					err = topic.Publish(context.Background(), []byte("x"))
				}
				if err == nil {
					err = topic.Close()
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 16 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := len(a.gossip.topics); got != 0 {
		t.Errorf("topics left: %d", got)
	}
}

func FuzzBroadcast(f *testing.F) {
	f.Add(appendBroadcast(nil, "topic", []byte("data")))
	f.Add(appendBroadcast(nil, "", nil))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		topic, body, err := readBroadcast(bytes.NewReader(data), func(string) bool { return true }, func(int) error { return nil })
		if err != nil {
			return
		}
		if topic == "" || len(topic) > maxTopicName || len(body) > MaxMessage {
			t.Fatalf("got a topic of %d bytes and data of %d", len(topic), len(body))
		}
		if again := appendBroadcast(nil, topic, body); !bytes.Equal(again, data) {
			t.Fatalf("got %x, want %x", again, data)
		}
	})
}
