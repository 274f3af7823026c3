package swarm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-varint"
)

const (
	// broadcastProtocol carries one message in each stream: the length of the
	// topic's name as a varint, the name, the length of the data as a varint, the
	// data. The receiver closes the stream when it has read them.
	broadcastProtocol protocol.ID = "/cairn/broadcast/1.0.0"

	// broadcastTimeout bounds sending to one peer, and receiving from one.
	broadcastTimeout = 20 * time.Second

	// broadcastChunk is the part of a message that memory is reserved for before it
	// arrives, in bytes, and broadcastChunkTimeout the time it may take: a peer
	// that occupies memory has to keep sending.
	broadcastChunk        = 64 << 10
	broadcastChunkTimeout = 5 * time.Second

	// broadcastParallel bounds the peers that a broadcast is sent to at once.
	broadcastParallel = 16
)

// Broadcast sends a message of at most MaxMessage bytes directly to each
// connected peer that has our protocol, whether it has opened the topic or not.
// Peers do not relay it. It returns how many peers have read the whole message.
func (s *Swarm) Broadcast(ctx context.Context, topic string, data []byte) (int, error) {
	switch {
	case topic == "" || len(topic) > maxTopicName:
		return 0, fmt.Errorf("swarm: broadcast to %.40q: the name has %d bytes, want 1 to %d", topic, len(topic), maxTopicName)
	case len(data) > MaxMessage:
		return 0, fmt.Errorf("swarm: broadcast to %q: the message has %d bytes, more than %d", topic, len(data), MaxMessage)
	case s.ctx.Err() != nil:
		return 0, fmt.Errorf("swarm: broadcast to %q: %w", topic, ErrClosed)
	}
	message := appendBroadcast(nil, topic, data)
	var sending sync.WaitGroup
	var reached atomic.Int64
	slots := make(chan struct{}, broadcastParallel)
	for _, id := range s.net.Peers() {
		supported, err := s.host.Peerstore().SupportsProtocols(id, broadcastProtocol)
		if err != nil || len(supported) == 0 {
			continue
		}
		slots <- struct{}{}
		sending.Go(func() {
			defer func() { <-slots }()
			if err := s.sendBroadcast(ctx, id, message); err != nil {
				s.log.Debug("swarm: cannot send a broadcast", "peer", id, "topic", topic, "err", err)
				return
			}
			reached.Add(1)
		})
	}
	sending.Wait()
	if err := ctx.Err(); err != nil {
		return int(reached.Load()), fmt.Errorf("swarm: broadcast to %q: %w", topic, err)
	}
	return int(reached.Load()), nil
}

// sendBroadcast sends a message to one peer and waits until the peer has read it.
func (s *Swarm) sendBroadcast(ctx context.Context, id peer.ID, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, broadcastTimeout)
	defer cancel()
	stream, err := s.host.NewStream(network.WithNoDial(ctx, "broadcast"), id, broadcastProtocol)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { stream.Reset() })()
	if err := writeAndWait(stream, message); err != nil {
		stream.Reset()
		return err
	}
	return stream.Close()
}

// writeAndWait writes a message and waits for the other side to close.
func writeAndWait(stream network.Stream, message []byte) error {
	if _, err := stream.Write(message); err != nil {
		return err
	}
	if err := stream.CloseWrite(); err != nil {
		return err
	}
	switch n, err := stream.Read(make([]byte, 1)); {
	case n > 0:
		return errors.New("the peer sent an answer, want none")
	case err != io.EOF:
		return err
	}
	return nil
}

// receiveBroadcast is the handler of broadcastProtocol.
func (s *Swarm) receiveBroadcast(stream network.Stream) {
	if !s.hold() {
		stream.Reset()
		return
	}
	defer s.running.Done()
	from := stream.Conn().RemotePeer()
	if err := s.readAndDeliver(stream, from); err != nil {
		s.log.Debug("swarm: cannot read a broadcast", "peer", from, "err", err)
		stream.Reset()
		return
	}
	stream.Close()
}

// readAndDeliver reads a broadcast from a stream and delivers it.
func (s *Swarm) readAndDeliver(stream network.Stream, from peer.ID) error {
	end := time.Now().Add(broadcastTimeout)
	if err := stream.SetDeadline(end); err != nil {
		return err
	}
	reserved := 0
	defer func() { stream.Scope().ReleaseMemory(reserved) }()
	topic, data, err := readBroadcast(stream, s.gossip.isOpen, func(n int) error {
		if err := stream.Scope().ReserveMemory(n, network.ReservationPriorityAlways); err != nil {
			return err
		}
		reserved += n
		late := time.Now().Add(broadcastChunkTimeout)
		if late.After(end) {
			late = end
		}
		return stream.SetReadDeadline(late)
	})
	if err != nil {
		return err
	}
	m := Message{From: from, Via: from, Data: data, Direct: true}
	ctx, cancel := context.WithTimeout(s.ctx, validationTimeout)
	defer cancel()
	if data == nil {
		return nil
	}
	if validators, ok := s.gossip.validate(ctx, topic, m); ok {
		s.gossip.deliver(topic, m, validators)
	}
	return nil
}

func appendBroadcast(to []byte, topic string, data []byte) []byte {
	to = append(to, varint.ToUvarint(uint64(len(topic)))...)
	to = append(to, topic...)
	to = append(to, varint.ToUvarint(uint64(len(data)))...)
	return append(to, data...)
}

// readBroadcast reads a message and the end of the stream. If the topic is not
// open, it discards the data and returns nil. It calls next before each chunk of
// data, and before the end, to reserve memory for n more bytes.
func readBroadcast(from io.Reader, isOpen func(topic string) bool, next func(n int) error) (topic string, data []byte, err error) {
	r := bufio.NewReader(from)
	n, err := readLength(r, maxTopicName)
	if err != nil {
		return "", nil, fmt.Errorf("topic: %w", err)
	}
	if n == 0 {
		return "", nil, errors.New("topic: empty")
	}
	name := make([]byte, n)
	if _, err = io.ReadFull(r, name); err != nil {
		return "", nil, fmt.Errorf("topic: %w", err)
	}
	topic = string(name)
	if n, err = readLength(r, MaxMessage); err != nil {
		return "", nil, fmt.Errorf("data: %w", err)
	}
	if isOpen(topic) {
		data, err = readChunks(r, n, next)
	} else {
		_, err = io.CopyN(io.Discard, r, int64(n))
	}
	if err != nil {
		return "", nil, fmt.Errorf("data: %w", err)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		return "", nil, errors.New("the stream goes on after the data")
	}
	return topic, data, nil
}

// readChunks reads n bytes. It allocates at most twice as much as has arrived.
func readChunks(r io.Reader, n int, next func(n int) error) ([]byte, error) {
	data := []byte{}
	for len(data) < n {
		grow := 0
		if len(data) == cap(data) {
			grow = min(max(len(data), broadcastChunk), n-len(data))
		}
		if err := next(grow); err != nil {
			return nil, err
		}
		if grow > 0 {
			data = append(make([]byte, 0, len(data)+grow), data...)
		}
		at := len(data)
		data = data[:at+min(broadcastChunk, cap(data)-at)]
		if _, err := io.ReadFull(r, data[at:]); err != nil {
			return nil, err
		}
	}
	return data, next(0)
}

// readLength reads a length of at most limit bytes.
func readLength(r io.ByteReader, limit uint64) (int, error) {
	n, err := varint.ReadUvarint(r)
	if err == nil && n > limit {
		err = fmt.Errorf("%d bytes, more than %d", n, limit)
	}
	return int(n), err
}
