"""The smoke register: how every recipe YAML is run, and what makes it tiny.

A new YAML in ``recipes/*/hparams`` needs a row here, unless others extend it (:data:`EXTENDED`); ``test_smoke.py`` says
so, and runs every row.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """How one YAML is run.

    Attributes
    ----------
    scripts : tuple of str
        Stems of the recipe's scripts, in the order in which a user runs them.
    classifier : str, optional
        Stem of the YAML of the same recipe that trains the classifier which is explained; it runs first.
    overrides : dict
        What makes the run tiny, on top of the recipe's own in :data:`DATA`.
    after : dict
        Key of the YAML -> stem of another one of the same recipe, which runs first and whose output folder it gets.
    as_user : tuple of str
        The scripts that are run in a process of their own instead of in this one. One is enough: it takes as long as
        the run itself.
    """

    scripts: tuple[str, ...]
    classifier: str | None = None
    overrides: dict[str, object] = field(default_factory=dict)
    as_user: tuple[str, ...] = ()
    after: dict[str, str] = field(default_factory=dict)


#: Of every run.
COMMON = {"batch_size": 5}
#: Of every run that explains a classifier: figures, pages and baselines take longer than the rest, so rows of
#: :data:`EXAMPLES` alone have all of them.
EXPLAINED = {"n_examples": 0, "report_clips": 0, "baselines": ["energy, same area", "M = 1", "energy top 20%"]}
EXAMPLES = {"n_examples": 1, "report_clips": 2, "baselines": "null"}
#: Of every run of a YAML that has something to train.
TRAINED = {"number_of_epochs": 1}

#: Of every run of a recipe: what its ``prepare`` needs to make little of it.
DATA = {
    "Synthetic": {"n_train": 10, "n_valid": 10, "n_test": 10, "prepare.seconds": 1.0, "clip_seconds": 1.0},
    "ESC50": {"train_folds": "[1]", "valid_folds": "[2]", "test_folds": "[3]", "clip_seconds": 1.0},
}

CLASSIFIER = ("train_classifier",)
#: The published decoders need 80 bands, and 32 times as many channels at the end as at the beginning.
CNN14 = {"classifier.base_channels": 2, "classifier.emb_dim": 64}
CONV2D = {"classifier.dim": 8}
VIT = {
    "classifier.config": "{image_size: 32, patch_size: 8, hidden_size: 16, num_hidden_layers: 2, "
    "num_attention_heads: 2, intermediate_size: 32}"
}
FOCALNET = {"classifier.config": "{image_size: 64, embed_dim: 8, depths: [1, 1, 1, 1]}"}
#: Instead of the published weights, which are on the hub.
AT_RANDOM = {"classifier.source": "null"}
#: The published decoders want images of 14 x 14 tokens, or of 7 x 7 cells.
VIT_PAPER = {**VIT, **AT_RANDOM, "classifier.config.image_size": 56, "classifier.config.patch_size": 4}
FOCALNET_PAPER = {**AT_RANDOM, "classifier.config": "{image_size: 56, embed_dim: 8, depths: [1, 1]}"}
AST = {
    "classifier.config": "{hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 32, "
    "num_mel_bins: 32, max_length: 100}"
}
PIQ = {"method.codebook_size": 20}
DICTIONARY = {"dictionary.n_components": 6, "dictionary.max_frames": 60, "dictionary.n_iterations": 3}
L2I = {**DICTIONARY, "method.channels": 4}
NMF = {**DICTIONARY, "method.n_iterations": 3}
OPTIMISED = {"method.steps": 2}
CALLS = {"method.calls": 9, "method.times": 3, "method.bands": 2}
GRADIENTS = {"method.n_steps": 2, "method.n_copies": 2}
LMAC = {"method.channels": 8, "method.decoder_channels": [4]}
LMAC_AST = {**LMAC, "method.decoder_channels": [4, 4]}

#: YAMLs that others extend, and that are not run.
EXTENDED = ("data", "augmentation")
#: Recipes whose YAMLs are shared ones over other data, and which tests of their own run: ``test_own_sounds.py`` and
#: ``tests/data/test_urbansound8k.py``.
RUN_ELSEWHERE = ("Custom", "UrbanSound8K")
#: Shared YAMLs of published settings, and of methods that ask for answers only, which no recipe has a file for: one
#: recipe runs each.
RUN_ONCE = (
    *("piq_paper", "piq_vit_paper", "piq_focalnet_paper", "lmac_paper", "l2i_paper"),
    *("rise", "occlusion", "feature_ablation", "kernel_shap", "lime"),
)
#: YAMLs that fine-tune a model which is given; a test beside the one of that kind of model runs each:
#: ``tests/training/test_finetuning.py`` and ``tests/classifiers/test_speechbrain.py``.
OF_GIVEN_MODELS = ("classifier_huggingface", "classifier_speechbrain")
#: "recipe/YAML" -> how it is run.
REGISTER = {
    "Synthetic/classifier_compact": Row(CLASSIFIER),
    "Synthetic/classifier_conv2d": Row(CLASSIFIER, overrides=CONV2D),
    "Synthetic/classifier_cnn14": Row(CLASSIFIER, overrides=CNN14),
    "Synthetic/classifier_vit": Row(CLASSIFIER, overrides=VIT),
    "Synthetic/classifier_vit_paper": Row(CLASSIFIER, overrides=VIT_PAPER),
    "Synthetic/classifier_focalnet": Row(CLASSIFIER, overrides=FOCALNET),
    "Synthetic/classifier_focalnet_paper": Row(CLASSIFIER, overrides=FOCALNET_PAPER),
    "Synthetic/classifier_ast": Row(CLASSIFIER, overrides=AST),
    "Synthetic/piq": Row(("train_piq", "evaluate"), "classifier_compact", PIQ, ("train_piq",)),
    "Synthetic/piq_vit": Row(("train_piq", "evaluate"), "classifier_vit", PIQ),
    "Synthetic/piq_focalnet": Row(("train_piq", "evaluate"), "classifier_focalnet", PIQ),
    "Synthetic/lmac_ast": Row(("train_lmac", "evaluate"), "classifier_ast", LMAC_AST),
    "Synthetic/lmac": Row(("train_lmac", "evaluate"), "classifier_compact", {**LMAC, **EXAMPLES}),
    "Synthetic/lmac_finetune": Row(
        ("train_interpreter", "evaluate"), "classifier_compact", LMAC, after={"finetune_from": "lmac"}
    ),
    "Synthetic/lmac_heard": Row(("train_lmac", "evaluate"), "classifier_compact", LMAC),
    "Synthetic/l2i": Row(("train_l2i", "evaluate"), "classifier_compact", L2I, after={"method.dictionary": "nmf"}),
    "Synthetic/nmf": Row(("train_nmf", "evaluate"), "classifier_compact", NMF),
    "Synthetic/amt_vit": Row(("interpret_amt",), "classifier_vit", {"method.quantile": 0.9}),
    "Synthetic/amt_focalnet": Row(("interpret_amt",), "classifier_focalnet", {"method.variant": "gradient"}),
    "Synthetic/gradients": Row(("evaluate",), "classifier_compact", GRADIENTS),
    "Synthetic/optimised": Row(("evaluate",), "classifier_compact", OPTIMISED),
    "Synthetic/counterfactual": Row(("evaluate",), "classifier_compact", OPTIMISED),
    "Synthetic/rise": Row(("evaluate",), "classifier_compact", CALLS),
    "Synthetic/occlusion": Row(("evaluate",), "classifier_compact", CALLS),
    "Synthetic/feature_ablation": Row(("evaluate",), "classifier_compact", CALLS),
    "ESC50/kernel_shap": Row(("evaluate",), "classifier_compact", {**CALLS, "method.grid": "segments"}),
    "ESC50/lime": Row(("evaluate",), "classifier_compact", CALLS),
    "ESC50/classifier_compact": Row(CLASSIFIER),
    "ESC50/classifier_conv2d": Row(CLASSIFIER, overrides=CONV2D),
    "ESC50/classifier_cnn14": Row(CLASSIFIER, overrides=CNN14),
    "ESC50/classifier_vit": Row(CLASSIFIER, overrides=VIT),
    "ESC50/classifier_vit_paper": Row(CLASSIFIER, overrides=VIT_PAPER),
    "ESC50/classifier_focalnet": Row(CLASSIFIER, overrides=FOCALNET),
    "ESC50/classifier_focalnet_paper": Row(CLASSIFIER, overrides=FOCALNET_PAPER),
    "ESC50/classifier_ast": Row(CLASSIFIER, overrides=AST),
    "ESC50/piq": Row(("train_interpreter", "evaluate"), "classifier_compact", {**PIQ, **EXAMPLES}),
    "ESC50/piq_paper": Row(("train_piq", "evaluate"), "classifier_conv2d", PIQ),
    "ESC50/piq_vit": Row(("train_piq", "evaluate"), "classifier_vit", PIQ),
    "ESC50/piq_focalnet": Row(("train_piq", "evaluate"), "classifier_focalnet", PIQ),
    "ESC50/piq_vit_paper": Row(("train_piq", "evaluate"), "classifier_vit_paper", PIQ),
    "ESC50/piq_focalnet_paper": Row(("train_piq", "evaluate"), "classifier_focalnet_paper", PIQ),
    "ESC50/lmac_ast": Row(("train_lmac", "evaluate"), "classifier_ast", LMAC_AST),
    "ESC50/lmac": Row(("train_lmac", "evaluate"), "classifier_compact", LMAC),
    "ESC50/lmac_finetune": Row(("train_lmac", "evaluate"), "classifier_compact", LMAC, after={"finetune_from": "lmac"}),
    "ESC50/lmac_heard": Row(("train_interpreter", "evaluate"), "classifier_compact", LMAC),
    "ESC50/lmac_paper": Row(("train_lmac", "evaluate"), "classifier_cnn14"),
    "ESC50/l2i": Row(("train_l2i", "evaluate"), "classifier_compact", L2I),
    "ESC50/l2i_paper": Row(("train_l2i", "evaluate"), "classifier_cnn14", L2I),
    "ESC50/nmf": Row(
        ("train_nmf", "evaluate"), "classifier_compact", {**NMF, **EXAMPLES, "dictionary.algorithm": "amortised"}
    ),
    "ESC50/amt_vit": Row(("interpret_amt",), "classifier_vit", {"method.variant": "rollout"}),
    "ESC50/amt_focalnet": Row(("interpret_amt",), "classifier_focalnet"),
    "ESC50/gradients": Row(
        ("evaluate",),
        "classifier_compact",
        {**GRADIENTS, **EXAMPLES, "method.attribution": "smoothgrad", "method.form": "top10"},
    ),
    "ESC50/optimised": Row(("evaluate",), "classifier_compact", OPTIMISED),
    "ESC50/counterfactual": Row(("evaluate",), "classifier_compact", OPTIMISED),
}
