package unixfs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/ipfs/go-cid"
)

// find looks up an entry in the HAMT whose root is n.
func (c *committer) find(at cid.Cid, n Node, name string) (Link, bool, error) {
	e, err := lookupShard(c.ctx, c.tree.get, at, n, name)
	if errors.Is(err, fs.ErrNotExist) {
		return Link{}, false, nil
	}
	return Link{CID: e.CID, Name: name, Tsize: e.Tsize}, err == nil, err
}

// reshard applies changes to the HAMT whose root is base. It gets and makes only
// the shards that change, and keeps the fanout.
func (c *committer) reshard(at cid.Cid, base Node, changes []dirChange) (part, error) {
	shape, err := newShape(base.Fanout)
	if err != nil {
		return part{}, fmt.Errorf("%s: %w", at, err)
	}
	for i := range changes {
		changes[i].hash = nameHash(changes[i].name)
	}
	slices.SortFunc(changes, func(a, b dirChange) int { return cmp.Compare(a.hash, b.hash) })
	links, err := c.changeShard(shardPlace{shape: shape}, at, base, changes)
	if err != nil {
		return part{}, err
	}
	return c.emit(shape.makeNode(links, attributes{base.Mode, base.Modified}))
}

// changeShard returns the links of a shard with changes, which are sorted by
// hash.
func (c *committer) changeShard(place shardPlace, at cid.Cid, n Node, changes []dirChange) ([]shardLink, error) {
	old, err := place.check(at, n)
	if err != nil {
		return nil, err
	}
	links := make([]shardLink, 0, len(old)+len(changes))
	for len(old) > 0 || len(changes) > 0 {
		bucket := place.shape.fanout
		if len(old) > 0 {
			bucket = old[0].bucket
		}
		if len(changes) > 0 {
			bucket = min(bucket, place.shape.bucket(changes[0].hash, place.level))
		}
		var was *shardLink
		if len(old) > 0 && old[0].bucket == bucket {
			was, old = &old[0], old[1:]
		}
		run := 0
		for run < len(changes) && place.shape.bucket(changes[run].hash, place.level) == bucket {
			run++
		}
		link, err := c.changeBucket(place, bucket, was, changes[:run])
		if err != nil {
			return nil, err
		}
		if link != nil {
			links = append(links, *link)
		}
		changes = changes[run:]
	}
	return links, nil
}

// changeBucket returns the link of a bucket after changes; nil: empty.
func (c *committer) changeBucket(place shardPlace, bucket int, was *shardLink, changes []dirChange) (*shardLink, error) {
	if len(changes) == 0 {
		return was, nil
	}
	if was != nil && was.name == "" {
		n, err := load(c.ctx, c.tree.get, was.link.CID)
		if err != nil {
			return nil, err
		}
		links, err := c.changeShard(place.below(bucket), was.link.CID, n, changes)
		if err != nil {
			return nil, err
		}
		switch {
		case len(links) == 0:
			return nil, nil
		case len(links) == 1 && links[0].name != "":
			// A single entry needs no shard.
			links[0].bucket = bucket
			return &links[0], nil
		}
		p, err := c.emit(place.shape.makeNode(links, attributes{}))
		return &shardLink{bucket: bucket, link: Link{CID: p.cid, Tsize: p.tsize}}, err
	}
	var entries []hashedLink
	kept := was != nil
	for _, ch := range changes {
		if kept && ch.name == was.name {
			kept = false
		}
		if ch.new.CID.Defined() {
			entries = append(entries, hashedLink{ch.hash, ch.new})
		}
	}
	if kept {
		l := was.link
		l.Name = was.name
		entries = append(entries, hashedLink{nameHash(l.Name), l})
		sortByHash(entries)
	}
	switch len(entries) {
	case 0:
		return nil, nil
	case 1:
		return &shardLink{bucket: bucket, name: entries[0].link.Name, link: entries[0].link}, nil
	}
	p, err := place.shape.build(entries, place.level+1, attributes{}, c.emit)
	return &shardLink{bucket: bucket, link: Link{CID: p.cid, Tsize: p.tsize}}, err
}
