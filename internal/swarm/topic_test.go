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

func openTopic(t testing.TB, s *Swarm, name string) *Topic {
	t.Helper()
	topic, err := s.Topic(name, TopicOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { topic.Close() })
	return topic
}

// first returns the topic's next message.
func first(t testing.TB, topic *Topic) Message {
	t.Helper()
	for m, err := range topic.Messages(testContext(t)) {
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	t.Fatal("the topic is closed")
	return Message{}
}

// newLine makes three swarms: the first and the last are connected to the middle
// one only.
func newLine(t testing.TB) [3]*Swarm {
	t.Helper()
	line := [3]*Swarm{newLocal(t, Config{}), newLocal(t, Config{}), newLocal(t, Config{})}
	connect(t, line[0], line[1])
	connect(t, line[1], line[2])
	for i := range 2 {
		waitForProtocol(t, line[i], line[i+1])
		waitForProtocol(t, line[i+1], line[i])
	}
	return line
}

// waitForProtocol waits until one swarm knows that the other accepts broadcasts.
func waitForProtocol(t testing.TB, one, other *Swarm) {
	t.Helper()
	eventually(t, "the other's protocols are known", func() bool {
		return slices.Contains(one.Peer(other.ID()).Protocols, broadcastProtocol)
	})
}

func TestTopic(t *testing.T) {
	line := newLine(t)
	var topics []*Topic
	for _, s := range line {
		topics = append(topics, openTopic(t, s, "news"))
	}
	second := openTopic(t, line[2], "news") // a second reader in the same swarm
	eventually(t, "all know their neighbours' topics", func() bool {
		return len(topics[0].Peers()) == 1 && len(topics[1].Peers()) == 2 && len(topics[2].Peers()) == 1
	})
	// Peers relay messages once they have formed a mesh, for which there is no event.
	eventually(t, "messages arrive", func() bool {
		if err := topics[0].Publish(testContext(t), []byte("test")); err != nil {
			t.Fatal(err)
		}
		for _, reader := range []*Topic{topics[1], second} { // so that their queues don't fill up
			_, _ = reader.dequeue()
		}
		_, ok := topics[2].dequeue()
		return ok
	})
	// Test messages may still arrive, in any order.
	nextReal := func(topic *Topic) Message {
		t.Helper()
		for {
			if m := first(t, topic); string(m.Data) != "test" {
				return m
			}
		}
	}

	big := bytes.Repeat([]byte("x"), MaxMessage)
	for _, data := range [][]byte{[]byte("hello"), {}, big} {
		if err := topics[0].Publish(testContext(t), data); err != nil {
			t.Fatal(err)
		}
		for i, topic := range []*Topic{topics[1], topics[2], second} {
			m := nextReal(topic)
			if m.From != line[0].ID() || !bytes.Equal(m.Data, data) || m.Direct || m.Lost != 0 {
				t.Errorf("reader %d: got %d bytes %.20q from %s (direct %v), want %d by gossip from %s", i, len(m.Data), m.Data, m.From, m.Direct, len(data), line[0].ID())
			}
			if via := line[min(i, 1)].ID(); m.Via != via {
				t.Errorf("reader %d: got Via %s, want %s", i, m.Via, via)
			}
		}
	}
	if err := topics[0].Publish(testContext(t), append(big, 'x')); err == nil {
		t.Error("a message over the limit: got no error")
	}
	if m, ok := topics[0].dequeue(); ok {
		t.Errorf("the publisher got its own message %.20q", m.Data)
	}

	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Publish(testContext(t), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("publish on a closed topic: got %v, want %v", err, ErrClosed)
	}
	if err := topics[2].Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last one has unsubscribed", func() bool { return len(topics[1].Peers()) == 1 })
	openTopic(t, line[2], "news") // again
	eventually(t, "the last one has subscribed again", func() bool { return len(topics[1].Peers()) == 2 })
}

// TestValidate: a message that the middle swarm refuses is neither delivered to it
// nor relayed to the last.
func TestValidate(t *testing.T) {
	line := newLine(t)
	polite := TopicOptions{Validate: func(_ context.Context, m Message) bool {
		return m.From != "" && m.Via != "" && !bytes.HasPrefix(m.Data, []byte("rude"))
	}}
	first, middle, last := openTopic(t, line[0], "news"), openTopic(t, line[1], "news"), openTopic(t, line[2], "news")
	strict, err := line[1].Topic("news", polite)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "messages arrive", func() bool {
		if err := first.Publish(testContext(t), []byte("test")); err != nil {
			t.Fatal(err)
		}
		_, ok := last.dequeue()
		return ok
	})
	// until sends messages until one of the last kind has arrived, and returns the
	// kinds that arrived by then.
	until := func(kinds ...string) (seen map[string]bool) {
		seen = make(map[string]bool)
		for n := 0; ; n++ {
			for _, kind := range kinds {
				if err := first.Publish(testContext(t), fmt.Appendf(nil, "%s %d", kind, n)); err != nil {
					t.Fatal(err)
				}
			}
			want := fmt.Sprintf("%s %d", kinds[len(kinds)-1], n)
			for m, err := range last.Messages(testContext(t)) {
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
		t.Errorf("the last swarm: got %v, want only kind messages", seen)
	}
	for _, topic := range []*Topic{middle, strict} {
		for m, ok := topic.dequeue(); ok; m, ok = topic.dequeue() {
			if bytes.HasPrefix(m.Data, []byte("rude")) {
				t.Errorf("the swarm that refuses: got %q", m.Data)
			}
		}
	}
	if err := strict.Publish(testContext(t), []byte("rude, and ours")); err == nil {
		t.Error("an own message that is refused: got no error")
	}
	for _, data := range []string{"rude", "kind"} {
		if n, err := line[0].Broadcast(testContext(t), "news", []byte(data)); n != 1 || err != nil {
			t.Fatalf("broadcast: got %d, %v", n, err)
		}
	}
	for m, err := range strict.Messages(testContext(t)) {
		if err != nil || m.Direct && string(m.Data) != "kind" {
			t.Errorf("a broadcast: got %q, %v, want only kind ones", m.Data, err)
		}
		if m.Direct {
			break
		}
	}
	// A validator is called until its reader closes.
	if err := strict.Close(); err != nil {
		t.Fatal(err)
	}
	if seen := until("rude"); !seen["rude"] {
		t.Error("without a validator: no rude message arrived, want some")
	}
}

// TestValidateFirst opens a topic with a validator as its first reader, several
// times: leaving the topic must remove the validator.
func TestValidateFirst(t *testing.T) {
	a, b := newLocal(t, Config{}), newLocal(t, Config{})
	connect(t, a, b)
	for range 3 {
		topic, err := b.Topic("x", TopicOptions{Validate: func(_ context.Context, m Message) bool { return string(m.Data) == "good" }})
		if err != nil {
			t.Fatal(err)
		}
		sender := openTopic(t, a, "x")
		eventually(t, "a message arrives", func() bool {
			for _, data := range []string{"bad", "good"} {
				if err := sender.Publish(testContext(t), []byte(data)); err != nil {
					t.Fatal(err)
				}
			}
			m, ok := topic.dequeue()
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

// TestValidateLate opens a topic a second time while a message is validated: a
// reader whose validator was not called does not get it.
func TestValidateLate(t *testing.T) {
	for _, direct := range []bool{false, true} {
		a, b := newLocal(t, Config{}), newLocal(t, Config{})
		connect(t, a, b)
		waitForProtocol(t, a, b)
		asked, answer := make(chan struct{}), make(chan struct{})
		ask := sync.OnceFunc(func() { close(asked) })
		early, err := b.Topic("x", TopicOptions{Validate: func(ctx context.Context, _ Message) bool {
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
		sender := openTopic(t, a, "x")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			if direct {
				sender.Broadcast(testContext(t), []byte("bad"))
				return
			}
			eventually(t, "a message arrives", func() bool {
				sender.Publish(testContext(t), []byte("bad"))
				select {
				case <-asked:
					return true
				default:
					return false
				}
			})
		}()
		<-asked
		late, err := b.Topic("x", TopicOptions{Validate: func(_ context.Context, m Message) bool { return string(m.Data) != "bad" }})
		if err != nil {
			t.Fatal(err)
		}
		close(answer)
		if m := first(t, early); string(m.Data) != "bad" {
			t.Errorf("direct %v: got %q, want %q", direct, m.Data, "bad")
		}
		if m, ok := late.dequeue(); ok {
			t.Errorf("direct %v: got %q, which its validator has not seen", direct, m.Data)
		}
		<-sent
	}
}

func TestTopicRefuses(t *testing.T) {
	s := newLocal(t, Config{Listen: []string{}})
	for _, name := range []string{"", strings.Repeat("x", maxTopicName+1)} {
		if _, err := s.Topic(name, TopicOptions{}); err == nil {
			t.Errorf("topic %.10q: got no error", name)
		}
		if _, err := s.Broadcast(testContext(t), name, nil); err == nil {
			t.Errorf("broadcast to %.10q: got no error", name)
		}
	}
	if _, err := s.Broadcast(testContext(t), "x", make([]byte, MaxMessage+1)); err == nil {
		t.Error("broadcast over the limit: got no error")
	}
}

func TestMessagesEnd(t *testing.T) {
	s := newLocal(t, Config{Listen: []string{}})
	topic := openTopic(t, s, "x")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n := 0
	for _, err := range topic.Messages(ctx) {
		if n++; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	}
	if n != 1 {
		t.Errorf("got %d turns, want one, with the error", n)
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
	line := newLine(t)
	outer, middle := openTopic(t, line[2], "news"), openTopic(t, line[1], "news")
	big := bytes.Repeat([]byte("x"), MaxMessage)
	for _, data := range [][]byte{[]byte("hello"), {}, big} {
		if n, err := line[1].Broadcast(testContext(t), "news", data); n != 2 || err != nil {
			t.Fatalf("got %d peers, %v, want 2", n, err)
		}
		if m := first(t, outer); m.From != line[1].ID() || !bytes.Equal(m.Data, data) || !m.Direct {
			t.Errorf("got %d bytes from %s, want %d, direct from %s", len(m.Data), m.From, len(data), line[1].ID())
		}
	}
	// Broadcasts are not relayed.
	if n, err := line[0].Broadcast(testContext(t), "news", []byte("near")); n != 1 || err != nil {
		t.Fatalf("got %d peers, %v, want 1", n, err)
	}
	if m := first(t, middle); string(m.Data) != "near" || m.From != line[0].ID() {
		t.Errorf("got %q from %s, want %q", m.Data, m.From, "near")
	}
	if m, ok := outer.dequeue(); ok {
		t.Errorf("got %q, which was sent to the middle swarm", m.Data)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := line[0].Broadcast(ctx, "news", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v, want %v", err, context.Canceled)
	}
}

// TestBroadcastHostile sends invalid broadcasts.
func TestBroadcastHostile(t *testing.T) {
	a, b := newLocal(t, Config{}), newLocal(t, Config{})
	connect(t, a, b)
	topic := openTopic(t, b, "x")
	good := appendBroadcast(nil, "x", []byte("data"))
	for name, bytes := range map[string][]byte{
		"cut short":    good[:len(good)-1],
		"too long":     append(slices.Clone(good), 0),
		"long topic":   {0xff, 0xff, 0xff, 0xff, 0x0f, 'x'},
		"no topic":     appendBroadcast(nil, "", nil),
		"endless":      {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"large data":   {1, 'x', 0xff, 0xff, 0xff, 0x7f},
		"nothing sent": {},
	} {
		stream, err := a.host.NewStream(testContext(t), b.ID(), broadcastProtocol)
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
	if m, ok := topic.dequeue(); ok {
		t.Errorf("delivered: %q", m.Data)
	}
	waitForProtocol(t, a, b)
	if n, err := a.Broadcast(testContext(t), "x", []byte("good")); n != 1 || err != nil {
		t.Errorf("after them: got %d, %v, want 1", n, err)
	}
}

// TestBroadcastsAreBounded has a peer start as many broadcasts as it may, and
// finish none: the memory for them is bounded if the topic is open, and none if it
// is not. Another peer's broadcast arrives.
func TestBroadcastsAreBounded(t *testing.T) {
	for _, opened := range []bool{true, false} {
		a, b := newLocal(t, Config{}), newLocal(t, Config{})
		connect(t, a, b)
		name := "x"
		if opened {
			openTopic(t, b, name)
		}
		message := appendBroadcast(nil, name, make([]byte, MaxMessage))
		start, rest := message[:len(message)-1], message[len(message)-1:]
		var streams []network.Stream
		for range broadcastStreams {
			stream, err := a.host.NewStream(testContext(t), b.ID(), broadcastProtocol)
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Reset()
			stream.Write(start)
			streams = append(streams, stream)
		}
		limit := int64(0)
		if opened {
			limit = broadcastMemory
			refused := make(chan error, len(streams))
			for _, stream := range streams {
				go func() {
					_, err := stream.Read(make([]byte, 1))
					refused <- err
				}()
			}
			for range broadcastStreams - broadcastMemory/MaxMessage {
				if err := <-refused; !errors.Is(err, network.ErrReset) {
					t.Errorf("an excess broadcast: got %v, want %v", err, network.ErrReset)
				}
			}
		}
		eventually(t, "memory is within the limit", func() (bounded bool) {
			if err := b.host.Network().ResourceManager().ViewPeer(a.ID(), func(s network.PeerScope) error {
				bounded = s.Stat().Memory <= limit
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
				t.Errorf("a broadcast to a closed topic: got %v, want it read", err)
			}
		}
		c := newLocal(t, Config{})
		connect(t, c, b)
		if n, err := c.Broadcast(testContext(t), name, make([]byte, MaxMessage)); n != 1 || err != nil {
			t.Errorf("another peer's broadcast: got %d, %v, want 1", n, err)
		}
	}
}

// TestBroadcastsOfOthers has peers that claim all the memory for broadcasts, and
// send little: another peer's broadcast arrives.
func TestBroadcastsOfOthers(t *testing.T) {
	b := newLocal(t, Config{})
	topic := openTopic(t, b, "x")
	start := appendBroadcast(nil, "x", make([]byte, MaxMessage))[:broadcastChunk/2]
	var peers []*Swarm // made before the first sends: it has broadcastChunkTimeout
	for range broadcastTotal/broadcastMemory + 1 {
		peers = append(peers, newLocal(t, Config{}))
		connect(t, peers[len(peers)-1], b)
	}
	c, peers := peers[0], peers[1:]
	for _, a := range peers {
		for range broadcastMemory / MaxMessage {
			stream, err := a.host.NewStream(testContext(t), b.ID(), broadcastProtocol)
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Reset()
			if _, err := stream.Write(start); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "memory is reserved for all of them", func() (reserved bool) {
		if err := b.host.Network().ResourceManager().ViewProtocol(broadcastProtocol, func(s network.ProtocolScope) error {
			reserved = s.Stat().Memory >= broadcastTotal/MaxMessage*broadcastChunk
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return reserved
	})
	if n, err := c.Broadcast(testContext(t), "x", make([]byte, MaxMessage)); n != 1 || err != nil {
		t.Fatalf("got %d, %v, want 1", n, err)
	}
	if m := first(t, topic); m.From != c.ID() || len(m.Data) != MaxMessage {
		t.Errorf("got %d bytes from %v, want %d from %v", len(m.Data), m.From, MaxMessage, c.ID())
	}
}

// A slowStream sends its message, and then nothing until the deadline.
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

// TestSlowBroadcast: each chunk, and the end, has a timeout of its own, shorter than
// that of a whole message.
func TestSlowBroadcast(t *testing.T) {
	whole := appendBroadcast(nil, "x", make([]byte, 3*broadcastChunk))
	for _, sent := range []int{broadcastChunk / 2, 2 * broadcastChunk, len(whole)} {
		synctest.Test(t, func(t *testing.T) {
			s := &Swarm{gossip: gossip{topics: map[string]*joinedTopic{"x": {readers: map[*Topic]struct{}{nil: {}}}}}}
			began := time.Now()
			err := s.readAndDeliver(&slowStream{message: whole[:sent]}, "")
			if took := time.Since(began); err == nil || took != broadcastChunkTimeout {
				t.Errorf("%d bytes sent: got %v after %v, want an error after %v", sent, err, took, broadcastChunkTimeout)
			}
		})
	}
}

// TestCloseWaitsForValidate closes a swarm while messages are validated, by gossip
// and by broadcast: no validator runs after Close.
func TestCloseWaitsForValidate(t *testing.T) {
	for _, direct := range []bool{false, true} {
		a, b := newLocal(t, Config{}), newLocal(t, Config{})
		connect(t, a, b)
		waitForProtocol(t, a, b)
		asked := make(chan struct{}, 1)
		var asking atomic.Int64
		_, err := b.Topic("x", TopicOptions{Validate: func(ctx context.Context, m Message) bool {
			asking.Add(1)
			defer asking.Add(-1)
			select {
			case asked <- struct{}{}:
			default:
			}
			<-ctx.Done()
			for range 100 { // takes a while
				sha256.Sum256(make([]byte, 1<<20))
			}
			return false
		}})
		if err != nil {
			t.Fatal(err)
		}
		topic := openTopic(t, a, "x")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			if direct {
				topic.Broadcast(testContext(t), []byte("x"))
				return
			}
			eventually(t, "a message arrives", func() bool {
				topic.Publish(testContext(t), []byte("x"))
				return len(asked) > 0 || asking.Load() > 0 || b.ctx.Err() != nil
			})
		}()
		<-asked
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if n := asking.Load(); n != 0 {
			t.Errorf("direct %v: %d validators run after Close, want none", direct, n)
		}
		<-sent
	}
}

// TestTopicIsBounded has a topic that is not read.
func TestTopicIsBounded(t *testing.T) {
	s := newLocal(t, Config{Listen: []string{}})
	topic := openTopic(t, s, "x")
	from := newID(t)
	send := func(n int) { s.gossip.deliver("x", Message{From: from, Data: make([]byte, n)}, nil) }
	for range maxQueued + 5 {
		send(1)
	}
	for range maxQueued {
		if m := first(t, topic); m.Lost != 0 {
			t.Fatalf("got %d lost, want 0", m.Lost)
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
		t.Errorf("lost because of their size: got %d, want 2", m.Lost)
	}
}

// TestManyTopics opens and closes topics from many goroutines.
func TestManyTopics(t *testing.T) {
	a, b := newLocal(t, Config{}), newLocal(t, Config{})
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
