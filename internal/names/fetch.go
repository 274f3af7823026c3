package names

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-varint"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	fetchProtocol protocol.ID = "/libp2p/fetch/0.0.1"

	// maxFetchRequest bounds a request, in bytes: a routing key of a hundred,
	// and room for unknown fields.
	maxFetchRequest = 512

	// maxFetchResponse bounds a response, in bytes.
	maxFetchResponse = MaxRecord + 64

	// fetchTimeout bounds a query to a peer, and the serving of one.
	fetchTimeout = 10 * time.Second

	// maxAnswering bounds the requests served at a time; further ones are
	// refused.
	maxAnswering = 32

	// The fields of the messages, and the status codes of a response.
	fetchIdentifier = 1
	fetchStatus     = 1
	fetchData       = 2

	fetchOK       = 0
	fetchNotFound = 1
)

// fetchRecord asks a connected peer for a name's record by the fetch protocol.
// It does not check the bytes. It fails with ErrNotFound.
func fetchRecord(ctx context.Context, h host.Host, id peer.ID, name Name) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	data, err := exchangeFetch(ctx, h, id, name)
	if err != nil {
		return nil, fmt.Errorf("names: fetch %s from %s: %w", name, id, err)
	}
	return data, nil
}

func exchangeFetch(ctx context.Context, h host.Host, id peer.ID, name Name) ([]byte, error) {
	stream, err := h.NewStream(network.WithNoDial(ctx, "fetch"), id, fetchProtocol)
	if err != nil {
		return nil, err
	}
	defer stream.Reset() // after Close it does nothing
	defer context.AfterFunc(ctx, func() { stream.Reset() })()
	if _, err := stream.Write(frame(marshalRequest(name.RoutingKey()))); err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	if err := stream.CloseWrite(); err != nil {
		return nil, err
	}
	message, err := readFrame(bufio.NewReader(stream), maxFetchResponse)
	if err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	data, err := unmarshalResponse(message)
	if err != nil {
		return nil, err
	}
	return data, stream.Close()
}

// handleFetch serves the fetch protocol. It answers for own and followed names
// only: the other names looked up here stay private.
func (n *Names) handleFetch(stream network.Stream) {
	if !n.spawn(func() {
		select {
		case n.answering <- struct{}{}:
			defer func() { <-n.answering }()
		default:
			stream.Reset()
			return
		}
		defer context.AfterFunc(n.ctx, func() { stream.Reset() })()
		if err := n.answerFetch(stream); err != nil {
			n.log.Debug("names: serving a fetch request failed", "peer", stream.Conn().RemotePeer(), "err", err)
			stream.Reset()
			return
		}
		stream.Close()
	}) {
		stream.Reset()
	}
}

func (n *Names) answerFetch(stream network.Stream) error {
	if err := stream.SetDeadline(time.Now().Add(fetchTimeout)); err != nil {
		return err
	}
	if err := stream.Scope().ReserveMemory(maxFetchResponse, network.ReservationPriorityMedium); err != nil {
		return err
	}
	defer stream.Scope().ReleaseMemory(maxFetchResponse)
	message, err := readFrame(bufio.NewReaderSize(stream, maxFetchRequest), maxFetchRequest)
	if err != nil {
		return err
	}
	key, err := unmarshalRequest(message)
	if err != nil {
		return err
	}
	var raw []byte
	if name, err := parseRoutingKey(key); err == nil {
		if r, record := n.cache.get(name); r.kept() && record != nil && record.Valid(time.Now()) == nil {
			raw = record.raw
		}
	}
	_, err = stream.Write(frame(marshalResponse(raw)))
	return err
}

// frame prepends a message's length.
func frame(message []byte) []byte {
	return append(varint.ToUvarint(uint64(len(message))), message...)
}

func readFrame(r *bufio.Reader, limit int) ([]byte, error) {
	size, err := varint.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if size > uint64(limit) {
		return nil, fmt.Errorf("%w: a message of %d bytes, want %d at most", ErrInvalid, size, limit)
	}
	message := make([]byte, size)
	_, err = io.ReadFull(r, message)
	return message, err
}

// marshalRequest encodes a request. The identifier is a string in the
// specification, but the keys of records are binary, and all implementations
// send them as they are.
func marshalRequest(key string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, fetchIdentifier, protowire.BytesType), key)
}

func unmarshalRequest(message []byte) (key string, err error) {
	err = parseFields(message, func(number protowire.Number, data []byte, _ uint64) {
		if number == fetchIdentifier {
			key = string(data)
		}
	})
	return key, err
}

// marshalResponse encodes a response; nil: not found.
func marshalResponse(raw []byte) []byte {
	if raw == nil {
		return protowire.AppendVarint(protowire.AppendTag(nil, fetchStatus, protowire.VarintType), fetchNotFound)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, fetchData, protowire.BytesType), raw)
}

func unmarshalResponse(message []byte) (data []byte, err error) {
	status := uint64(fetchOK)
	err = parseFields(message, func(number protowire.Number, bytes []byte, v uint64) {
		switch {
		case number == fetchStatus && bytes == nil:
			status = v
		case number == fetchData && bytes != nil:
			data = bytes
		}
	})
	switch {
	case err != nil:
		return nil, err
	case status == fetchNotFound:
		return nil, ErrNotFound
	case status != fetchOK:
		return nil, fmt.Errorf("%w: status %d", ErrInvalid, status)
	}
	return data, nil
}

// parseFields calls f with each field of a message: bytes, never nil, or a
// number.
func parseFields(message []byte, f func(number protowire.Number, bytes []byte, v uint64)) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrInvalid, protowire.ParseError(n))
		}
		message = message[n:]
		size := protowire.ConsumeFieldValue(number, kind, message)
		if size < 0 {
			return fmt.Errorf("%w: %w", ErrInvalid, protowire.ParseError(size))
		}
		switch kind {
		case protowire.BytesType:
			data, _ := protowire.ConsumeBytes(message)
			f(number, append([]byte{}, data...), 0)
		case protowire.VarintType:
			v, _ := protowire.ConsumeVarint(message)
			f(number, nil, v)
		}
		message = message[size:]
	}
	return nil
}
