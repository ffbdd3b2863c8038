package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/klog/v2"
)

const (
	provisioner   = "faultline.io/poddir"
	madeBy        = "pv.kubernetes.io/provisioned-by"
	chosenNode    = "volume.kubernetes.io/selected-node"
	directoryMode = 0o777 // pods run as whatever user they like
)

// poddir gives out directories of the node it runs on as volumes: it makes one
// when the scheduler has chosen this node for a claim, and removes it when the
// claim is gone and the volume may be reclaimed.
//
// Settings come by the environment: NODE_NAME, ROOT (a path that is the same in
// this container and on the node).
type poddir struct {
	*agent
	node    string
	root    string
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
}

func runPoddir() int {
	common, err := newAgent("poddir")
	if err != nil {
		klog.Errorf("poddir: %v", err)
		return 1
	}
	core, storage := common.watched.Core().V1(), common.watched.Storage().V1()
	common.watch(core.PersistentVolumeClaims().Informer())
	common.watch(core.PersistentVolumes().Informer())
	common.watch(storage.StorageClasses().Informer())
	p := &poddir{
		agent:   common,
		node:    os.Getenv("NODE_NAME"),
		root:    filepath.Clean(os.Getenv("ROOT")),
		claims:  core.PersistentVolumeClaims().Lister(),
		volumes: core.PersistentVolumes().Lister(),
		classes: storage.StorageClasses().Lister(),
	}
	if p.node == "" || !filepath.IsAbs(p.root) || p.root == "/" {
		klog.Error("poddir: NODE_NAME must be set, and ROOT to an absolute path below /")
		return 64
	}
	return common.run(p.pass)
}

func (p *poddir) pass(ctx context.Context) error {
	claims, err := p.claims.List(labels.Everything())
	if err != nil {
		return err
	}
	volumes, err := p.volumes.List(labels.Everything())
	if err != nil {
		return err
	}
	var failures []error
	for _, claim := range claims {
		if class := p.classOf(claim); class != nil && p.waits(claim) {
			failures = append(failures, p.provide(ctx, claim, class))
		}
	}
	for _, volume := range volumes {
		if p.mayGo(volume) {
			failures = append(failures, p.reclaim(ctx, volume))
		}
	}
	return errors.Join(failures...)
}

func (p *poddir) classOf(claim *corev1.PersistentVolumeClaim) *storagev1.StorageClass {
	if claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := p.classes.Get(*claim.Spec.StorageClassName)
	if err != nil || class.Provisioner != provisioner {
		return nil
	}
	return class
}

func (p *poddir) waits(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Spec.VolumeName == "" && claim.DeletionTimestamp.IsZero() && claim.Annotations[chosenNode] == p.node
}

// mayGo: ours, of this node, and its claim is gone.
func (p *poddir) mayGo(volume *corev1.PersistentVolume) bool {
	return volume.Annotations[madeBy] == provisioner &&
		volume.Labels[corev1.LabelHostname] == p.node &&
		volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete &&
		volume.Status.Phase == corev1.VolumeReleased && volume.DeletionTimestamp.IsZero()
}

func (p *poddir) provide(ctx context.Context, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) error {
	name := "pvc-" + string(claim.UID) // the name that says to the controller which claim it is for
	directory := filepath.Join(p.root, name)
	if err := os.MkdirAll(directory, directoryMode); err != nil {
		return err
	}
	if err := os.Chmod(directory, directoryMode); err != nil { // whatever the umask says
		return err
	}
	reclaim := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		reclaim = *class.ReclaimPolicy
	}
	filesystem := corev1.PersistentVolumeFilesystem
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Labels:      map[string]string{corev1.LabelHostname: p.node},
			Annotations: map[string]string{madeBy: provisioner},
		},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName:              class.Name,
			VolumeMode:                    &filesystem,
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: reclaim,
			Capacity: corev1.ResourceList{
				corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage],
			},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: directory},
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{
						Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{p.node},
					}},
				}},
			}},
		},
	}, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err): // made in an earlier pass, not bound yet
		return nil
	case err != nil:
		return fmt.Errorf("volume for %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	klog.Infof("poddir: %s for %s/%s", directory, claim.Namespace, claim.Name)
	return nil
}

func (p *poddir) reclaim(ctx context.Context, volume *corev1.PersistentVolume) error {
	if volume.Spec.HostPath == nil || filepath.Dir(volume.Spec.HostPath.Path) != p.root {
		return fmt.Errorf("volume %s says it is ours, but is not below %s", volume.Name, p.root)
	}
	if err := os.RemoveAll(volume.Spec.HostPath.Path); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
