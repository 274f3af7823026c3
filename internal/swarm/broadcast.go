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
	// broadcastProtocol carries one message a stream: the length of the
	// topic's name as a varint, the name, the length of the data as a varint,
	// the data. The receiver closes the stream when it has read them.
	broadcastProtocol protocol.ID = "/cairn/broadcast/1.0.0"

	// broadcastTimeout bounds sending to one peer, and receiving from one.
	broadcastTimeout = 20 * time.Second

	// broadcastPiece is how much of a message there's memory for before it comes,
	// in bytes, and broadcastPatience how long so much may take: whoever keeps
	// memory from others has to send as much, again and again.
	broadcastPiece    = 64 << 10
	broadcastPatience = 5 * time.Second

	// maxBroadcasting is to how many peers a broadcast goes at a time.
	maxBroadcasting = 16
)

// Broadcast sends a message, of MaxMessage bytes at most, straight to each
// connected peer that speaks our protocol, whether it has opened the topic or
// not, and nobody passes it on. It returns how many peers have read it whole.
func (s *Swarm) Broadcast(ctx context.Context, topic string, data []byte) (int, error) {
	switch {
	case topic == "" || len(topic) > maxTopicName:
		return 0, fmt.Errorf("swarm: broadcast to %.40q: the name has %d bytes, want 1 to %d", topic, len(topic), maxTopicName)
	case len(data) > MaxMessage:
		return 0, fmt.Errorf("swarm: broadcast to %q: %d bytes, more than %d", topic, len(data), MaxMessage)
	case s.ctx.Err() != nil:
		return 0, fmt.Errorf("swarm: broadcast to %q: %w", topic, ErrClosed)
	}
	message := appendBroadcast(nil, topic, data)
	var sending sync.WaitGroup
	var reached atomic.Int64
	room := make(chan struct{}, maxBroadcasting)
	for _, id := range s.net.Peers() {
		spoken, err := s.host.Peerstore().SupportsProtocols(id, broadcastProtocol)
		if err != nil || len(spoken) == 0 {
			continue
		}
		room <- struct{}{}
		sending.Go(func() {
			defer func() { <-room }()
			if err := s.sendBroadcast(ctx, id, message); err != nil {
				s.log.Debug("swarm: a broadcast did not arrive", "peer", id, "topic", topic, "err", err)
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

// sendBroadcast sends to one peer and waits until it has read all.
func (s *Swarm) sendBroadcast(ctx context.Context, id peer.ID, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, broadcastTimeout)
	defer cancel()
	stream, err := s.host.NewStream(network.WithNoDial(ctx, "broadcast"), id, broadcastProtocol)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { stream.Reset() })()
	if err := exchange(stream, message); err != nil {
		stream.Reset()
		return err
	}
	return stream.Close()
}

// exchange writes the message and waits for the other side to close.
func exchange(stream network.Stream, message []byte) error {
	if _, err := stream.Write(message); err != nil {
		return err
	}
	if err := stream.CloseWrite(); err != nil {
		return err
	}
	switch n, err := stream.Read(make([]byte, 1)); {
	case n > 0:
		return errors.New("the peer answered")
	case err != io.EOF:
		return err
	}
	return nil
}

// receiveBroadcast is the handler of broadcastProtocol.
func (s *Swarm) receiveBroadcast(stream network.Stream) {
	if !s.enter() {
		stream.Reset()
		return
	}
	defer s.running.Done()
	from := stream.Conn().RemotePeer()
	if err := s.takeBroadcast(stream, from); err != nil {
		s.log.Debug("swarm: a broadcast can't be read", "peer", from, "err", err)
		stream.Reset()
		return
	}
	stream.Close()
}

func (s *Swarm) takeBroadcast(stream network.Stream, from peer.ID) error {
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
		late := time.Now().Add(broadcastPatience)
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
	if asked, ok := s.gossip.valid(ctx, topic, m); ok {
		s.gossip.deliver(topic, m, asked)
	}
	return nil
}

func appendBroadcast(to []byte, topic string, data []byte) []byte {
	to = append(to, varint.ToUvarint(uint64(len(topic)))...)
	to = append(to, topic...)
	to = append(to, varint.ToUvarint(uint64(len(data)))...)
	return append(to, data...)
}

// readBroadcast reads a message, which must be all that comes. If nobody has the
// topic open, the data are thrown away, and nil returned. Next is asked before each
// piece of them, and before the end, for room for so many bytes more.
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
		data, err = readPieces(r, n, next)
	} else {
		_, err = io.CopyN(io.Discard, r, int64(n))
	}
	if err != nil {
		return "", nil, fmt.Errorf("data: %w", err)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		return "", nil, errors.New("more follows the data")
	}
	return topic, data, nil
}

// readPieces reads n bytes. There's room for twice as many at most as have come.
func readPieces(r io.Reader, n int, next func(n int) error) ([]byte, error) {
	data := []byte{}
	for len(data) < n {
		grow := 0
		if len(data) == cap(data) {
			grow = min(max(len(data), broadcastPiece), n-len(data))
		}
		if err := next(grow); err != nil {
			return nil, err
		}
		if grow > 0 {
			data = append(make([]byte, 0, len(data)+grow), data...)
		}
		at := len(data)
		data = data[:at+min(broadcastPiece, cap(data)-at)]
		if _, err := io.ReadFull(r, data[at:]); err != nil {
			return nil, err
		}
	}
	return data, next(0)
}

// readLength reads a length, which may be at most most.
func readLength(r io.ByteReader, most uint64) (int, error) {
	n, err := varint.ReadUvarint(r)
	if err == nil && n > most {
		err = fmt.Errorf("%d bytes, more than %d", n, most)
	}
	return int(n), err
}
