package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"
)

// Words in the lists of peers and routers.
const (
	publicWord = "public"
	noneWord   = "none"
)

// expandList replaces the word public by the public entries, and none by nothing.
// A local node has no public entries.
func expandList(list []string, public []string, local bool) []string {
	var all []string
	for _, s := range list {
		switch {
		case s == publicWord && local, s == noneWord:
		case s == publicWord:
			all = append(all, public...)
		default:
			all = append(all, s)
		}
	}
	return all
}

// splitList splits a list at commas and spaces.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// checkList checks a list: check gets the parts that are not these words.
func checkList(s string, check func(string) error) error {
	list := splitList(s)
	for _, part := range list {
		switch {
		case part == noneWord && len(list) > 1:
			return fmt.Errorf("%q stands alone", noneWord)
		case part == noneWord || part == publicWord:
		default:
			if err := check(part); err != nil {
				return fmt.Errorf("%q: %w", part, err)
			}
		}
	}
	return nil
}

func checkBootstrap(s string) error {
	return checkList(s, func(part string) error {
		_, err := peer.AddrInfoFromString(part)
		if err != nil {
			return fmt.Errorf("%w: say public, none, or addresses that end with the peers' ids: %w", cairn.ErrAddress, err)
		}
		return nil
	})
}

func checkRouters(s string) error {
	return checkList(s, func(part string) error {
		u, err := url.Parse(part)
		if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			err = errors.New("say public, none, or http and https URLs")
		}
		return err
	})
}

func checkBool(s string) error {
	if s != "true" && s != "false" {
		return fmt.Errorf("%q: say true or false", s)
	}
	return nil
}

// nodeConfig returns the configuration of a node that listens at these addresses,
// none if it does not listen. Local: they are on this machine only.
func (a *app) nodeConfig(listen []string, local bool) cairn.Config {
	return cairn.Config{
		Offline: a.offline, Listen: listen, Local: local,
		Bootstrap:      expandList(a.set.list("swarm.bootstrap"), cairn.DefaultBootstrap(), local),
		Routing:        cairn.RoutingMode(a.set.text("routing.mode")),
		Delegated:      expandList(a.set.list("routing.routers"), cairn.DefaultDelegated(), local),
		Providing:      cairn.ProvideStrategy(a.set.text("routing.provide")),
		ProvideFetched: a.set.text("routing.fetched") == "true",
	}
}

// A keyFlag is a flag that sets a key of the configuration for one run.
type keyFlag struct{ flag, key, help string }

// addKeyFlags adds flags for keys. A repeated flag is a list.
func addKeyFlags(cmd *cobra.Command, flags []keyFlag) {
	for _, f := range flags {
		cmd.Flags().StringArray(f.flag, nil, f.help+" (key "+f.key+")")
	}
}

// applyKeyFlags sets the keys whose flags are given. They override every other
// origin.
func (a *app) applyKeyFlags(cmd *cobra.Command, flags []keyFlag) error {
	for _, f := range flags {
		if !cmd.Flags().Changed(f.flag) {
			continue
		}
		list, err := cmd.Flags().GetStringArray(f.flag)
		if err != nil {
			return err
		}
		text := strings.Join(list, ",")
		k, err := findKey(f.key)
		if err == nil {
			err = k.validate(text)
		}
		if err != nil {
			return asUsageError(fmt.Errorf("%s: --%s: %w", cmd.Name(), f.flag, err))
		}
		a.set[f.key] = value{text, "--" + f.flag}
	}
	return nil
}
