package bitswap

import (
	"io"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairn-ipfs/cairn/block"
)

// appendWants appends a message with a want list, and its length in front.
func appendWants(dst []byte, entries []entry, full bool) []byte {
	list := 0
	for _, e := range entries {
		n := entrySize(e)
		list += protowire.SizeTag(wantlistEntries) + protowire.SizeBytes(n)
	}
	if full {
		list += protowire.SizeTag(wantlistFull) + 1
	}
	dst = protowire.AppendVarint(dst, uint64(protowire.SizeTag(messageWantlist)+protowire.SizeBytes(list)))
	dst = protowire.AppendTag(dst, messageWantlist, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(list))
	for _, e := range entries {
		dst = protowire.AppendTag(dst, wantlistEntries, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(entrySize(e)))
		dst = protowire.AppendTag(dst, entryCID, protowire.BytesType)
		dst = protowire.AppendString(dst, e.cid.KeyString())
		dst = appendNumber(dst, entryPriority, uint64(int64(e.priority)))
		dst = appendNumber(dst, entryCancel, protowire.EncodeBool(e.cancel))
		dst = appendNumber(dst, entryKind, uint64(e.kind))
		dst = appendNumber(dst, entrySendDontHave, protowire.EncodeBool(e.sendDontHave))
	}
	if full {
		dst = appendNumber(dst, wantlistFull, 1)
	}
	return dst
}

func entrySize(e entry) int {
	return protowire.SizeTag(entryCID) + protowire.SizeBytes(e.cid.ByteLen()) +
		numberSize(entryPriority, uint64(int64(e.priority))) +
		numberSize(entryCancel, protowire.EncodeBool(e.cancel)) +
		numberSize(entryKind, uint64(e.kind)) +
		numberSize(entrySendDontHave, protowire.EncodeBool(e.sendDontHave))
}

// appendNumber appends a field unless it is zero, as in proto3.
func appendNumber(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

func numberSize(num protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}

// An answer is a message of the server.
type answer struct {
	blocks           []block.Block
	haves, dontHaves []cid.Cid
	share, held      int // of the peer's and the node's memory for answers
}

func (a *answer) empty() bool {
	return len(a.blocks) == 0 && len(a.haves) == 0 && len(a.dontHaves) == 0
}

// maxPayloadOverhead is the most bytes of a payload besides its data.
const maxPayloadOverhead = 64

// writeTo writes the answer as a message of that version, with its length in front.
// An older version leaves out presences.
func (a *answer) writeTo(w io.Writer, version protocol.ID) error {
	prefixes := make([][]byte, len(a.blocks))
	size := 0
	for i, b := range a.blocks {
		if version == protocol100 {
			size += protowire.SizeTag(messageBlocks) + protowire.SizeBytes(b.Size())
			continue
		}
		prefixes[i] = b.CID().Prefix().Bytes()
		size += protowire.SizeTag(messagePayload) + protowire.SizeBytes(payloadSize(prefixes[i], b.Size()))
	}
	haves, dontHaves := a.haves, a.dontHaves
	if !hasPresences(version) {
		haves, dontHaves = nil, nil
	}
	for _, c := range haves {
		size += protowire.SizeTag(messagePresence) + protowire.SizeBytes(presenceSize(c, true))
	}
	for _, c := range dontHaves {
		size += protowire.SizeTag(messagePresence) + protowire.SizeBytes(presenceSize(c, false))
	}
	if size == 0 {
		return nil
	}
	head := protowire.AppendVarint(make([]byte, 0, 128), uint64(size))
	for _, c := range haves {
		head = appendPresence(head, c, true)
	}
	for _, c := range dontHaves {
		head = appendPresence(head, c, false)
	}
	for i, b := range a.blocks {
		if version == protocol100 {
			head = protowire.AppendTag(head, messageBlocks, protowire.BytesType)
		} else {
			head = protowire.AppendTag(head, messagePayload, protowire.BytesType)
			head = protowire.AppendVarint(head, uint64(payloadSize(prefixes[i], b.Size())))
			head = protowire.AppendTag(head, payloadPrefix, protowire.BytesType)
			head = protowire.AppendBytes(head, prefixes[i])
			head = protowire.AppendTag(head, payloadData, protowire.BytesType)
		}
		head = protowire.AppendVarint(head, uint64(b.Size()))
		if _, err := w.Write(head); err != nil {
			return err
		}
		head = head[:0]
		if _, err := w.Write(b.Data()); err != nil {
			return err
		}
	}
	_, err := w.Write(head)
	return err
}

func payloadSize(prefix []byte, data int) int {
	return protowire.SizeTag(payloadPrefix) + protowire.SizeBytes(len(prefix)) +
		protowire.SizeTag(payloadData) + protowire.SizeBytes(data)
}

// maxPresence is the most bytes of a presence.
const maxPresence = block.MaxCID + 16

func presenceSize(c cid.Cid, have bool) int {
	return protowire.SizeTag(presenceCID) + protowire.SizeBytes(c.ByteLen()) +
		numberSize(presenceKind, protowire.EncodeBool(!have))
}

func appendPresence(dst []byte, c cid.Cid, have bool) []byte {
	dst = protowire.AppendTag(dst, messagePresence, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(presenceSize(c, have)))
	dst = protowire.AppendTag(dst, presenceCID, protowire.BytesType)
	dst = protowire.AppendString(dst, c.KeyString())
	return appendNumber(dst, presenceKind, protowire.EncodeBool(!have))
}
