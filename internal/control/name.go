package control

import (
	"context"
	"errors"
	"time"

	"github.com/cairn-ipfs/cairn"
)

// PublishArgs are a key, by its name or id (empty: the node's identity), the path
// that its name shall lead to, and fields of cairn.PublishOptions.
type PublishArgs struct {
	Key      string        `json:"key,omitempty"`
	Path     string        `json:"path"`
	Lifetime time.Duration `json:"lifetime,omitempty"`
	TTL      time.Duration `json:"ttl,omitempty"`
	Sequence uint64        `json:"sequence,omitempty"`
	Offline  bool          `json:"offline,omitempty"`
}

// A Publication is a record that is kept here. NotSent says why nobody else has
// it; nil: it was sent.
type Publication struct {
	Record  cairn.NameRecord `json:"record"`
	NotSent *Failure         `json:"notSent,omitempty"`
}

// publication takes a record that was not sent for a result.
func publication(r cairn.NameRecord, err error) (Publication, error) {
	if errors.Is(err, cairn.ErrNotSent) {
		return Publication{r, failureOf(err)}, nil
	}
	return Publication{Record: r}, err
}

// PublishName publishes a name, as cairn.Node.PublishName does.
var PublishName = Call[PublishArgs, Publication]{
	Path: "name/publish",
	Run: func(ctx context.Context, n *cairn.Node, a PublishArgs) (Publication, error) {
		return publication(n.PublishName(ctx, a.Key, a.Path, cairn.PublishOptions{
			Lifetime: a.Lifetime, TTL: a.TTL, Sequence: a.Sequence, Offline: a.Offline,
		}))
	},
}

// NameArgs are a name, or a path that begins with one, and how to look it up.
type NameArgs struct {
	Name    string `json:"name"`
	Latest  bool   `json:"latest,omitempty"`
	Offline bool   `json:"offline,omitempty"`
}

func (a NameArgs) options() cairn.ResolveOptions {
	return cairn.ResolveOptions{Latest: a.Latest, Offline: a.Offline}
}

// ResolveName follows a name, as cairn.Node.ResolveName does.
var ResolveName = Call[NameArgs, cairn.Resolution]{
	Path: "name/resolve",
	Run: func(ctx context.Context, n *cairn.Node, a NameArgs) (cairn.Resolution, error) {
		return n.ResolveName(ctx, a.Name, a.options())
	},
}

// GetNameRecord returns the record of a name.
var GetNameRecord = Call[NameArgs, cairn.NameRecord]{
	Path: "name/record",
	Run: func(ctx context.Context, n *cairn.Node, a NameArgs) (cairn.NameRecord, error) {
		return n.NameRecord(ctx, a.Name, a.options())
	},
}

// PutRecordArgs are a name, and a record that its owner signed.
type PutRecordArgs struct {
	Name   string `json:"name"`
	Record []byte `json:"record"`
}

// PutNameRecord keeps a record, and sends it on.
var PutNameRecord = Call[PutRecordArgs, Publication]{
	Path: "name/put",
	Run: func(ctx context.Context, n *cairn.Node, a PutRecordArgs) (Publication, error) {
		return publication(n.PutNameRecord(ctx, a.Name, a.Record))
	},
}
