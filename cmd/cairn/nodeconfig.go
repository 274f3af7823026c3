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
	publicOnes = "public"
	noOnes     = "none"
)

// expanded replaces the word public by the public ones, and none by nothing. A
// node that is for this machine alone asks nobody outside, unless named.
func expanded(list []string, public []string, local bool) []string {
	var all []string
	for _, s := range list {
		switch {
		case s == publicOnes && local, s == noOnes:
		case s == publicOnes:
			all = append(all, public...)
		default:
			all = append(all, s)
		}
	}
	return all
}

func fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// checkList checks the parts of a list that are no such words.
func checkList(s string, check func(string) error) error {
	list := fields(s)
	for _, part := range list {
		switch {
		case part == noOnes && len(list) > 1:
			return fmt.Errorf("%q stands alone", noOnes)
		case part == noOnes || part == publicOnes:
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

// nodeConfig is how the settings say that the node behaves in the network, if
// it listens there, and whether that is this machine alone.
func (a *app) nodeConfig(listen []string, local bool) cairn.Config {
	return cairn.Config{
		Offline: a.offline, Listen: listen, Local: local,
		Bootstrap:      expanded(a.set.list("swarm.bootstrap"), cairn.DefaultBootstrap(), local),
		Routing:        cairn.RoutingMode(a.set.text("routing.mode")),
		Delegated:      expanded(a.set.list("routing.routers"), cairn.DefaultDelegated(), local),
		Providing:      cairn.ProvideStrategy(a.set.text("routing.provide")),
		ProvideFetched: a.set.text("routing.fetched") == "true",
	}
}

// A keyFlag is a flag that sets a key of the configuration for one run.
type keyFlag struct{ flag, key, help string }

// addKeyFlags adds flags for keys. One that is repeated is a list.
func addKeyFlags(cmd *cobra.Command, flags []keyFlag) {
	for _, f := range flags {
		cmd.Flags().StringArray(f.flag, nil, f.help+" (key "+f.key+")")
	}
}

// takeKeyFlags has those that are given count for more than what else sets a
// key.
func (a *app) takeKeyFlags(cmd *cobra.Command, flags []keyFlag) error {
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
			err = k.checked(text)
		}
		if err != nil {
			return usage(fmt.Errorf("%s: --%s: %w", cmd.Name(), f.flag, err))
		}
		a.set[f.key] = value{text, "--" + f.flag}
	}
	return nil
}
