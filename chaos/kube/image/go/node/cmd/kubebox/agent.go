package main

import (
	"context"
	"net"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	gather   = 30 * time.Millisecond // events come in bursts; one pass serves them all
	afterBad = time.Second           // before a failed pass is tried again
	patrol   = 10 * time.Second      // what others changed behind our back is put right at this pace
)

// agent is what the two helpers of a node have in common: a pass that makes the
// node look as the cluster says, run whenever something that it watches changes.
type agent struct {
	name    string
	client  kubernetes.Interface
	watched informers.SharedInformerFactory
	wake    chan struct{}
}

// newAgent talks to the cluster that this pod runs in, as its service account.
func newAgent(name string) (*agent, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, err
	}
	config.UserAgent = name
	// kube-proxy starts beside us: until it has written its rules, packets to the API's Service get
	// no answer, and the default patience of half a minute would hold up the whole node.
	config.Dial = (&net.Dialer{Timeout: time.Second, KeepAlive: 10 * time.Second}).DialContext
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &agent{
		name:    name,
		client:  client,
		watched: informers.NewSharedInformerFactory(client, 0),
		wake:    make(chan struct{}, 1),
	}, nil
}

// watch makes every change of what the informer sees a reason for a pass.
func (a *agent) watch(informer cache.SharedIndexInformer) {
	rouse := func() {
		select {
		case a.wake <- struct{}{}:
		default: // a pass is due already
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { rouse() },
		UpdateFunc: func(any, any) { rouse() },
		DeleteFunc: func(any) { rouse() },
	})
	if err != nil {
		klog.Fatalf("%s: %v", a.name, err)
	}
}

// run makes passes until the process is told to end. A lost API server stops
// the events but not the patrol: what was last known stays in force.
func (a *agent) run(pass func(context.Context) error) int {
	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer release()
	a.watched.Start(ctx.Done())
	for kind, synced := range a.watched.WaitForCacheSync(ctx.Done()) {
		if !synced {
			klog.Infof("%s: ended before it had seen every %v", a.name, kind)
			return 0
		}
	}
	for {
		next := patrol
		if err := pass(ctx); err != nil {
			klog.Errorf("%s: %v", a.name, err)
			next = afterBad
		}
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(next):
		case <-a.wake:
			time.Sleep(gather)
		}
	}
}
