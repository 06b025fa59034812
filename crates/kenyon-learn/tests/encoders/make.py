"""Makes the tiny random encoders of this folder, and the vectors that transformers and sentence-transformers give.

Needs torch, transformers, tokenizers, safetensors and sentence-transformers: python make.py
"""

import json
import pathlib
import shutil

import numpy
import torch
import transformers
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer, models
from tokenizers import Tokenizer, models as token_models, normalizers, pre_tokenizers, processors

HERE = pathlib.Path(__file__).parent
WORDS = "the a card bank is lost my where account money ##s ##ed transfer pay open close new old ? , .".split()
TEXTS = [
    "Where is my card?",
    "the bank",
    "my new account, the old account. the money transfers",
    "unheard words: transferred",
    "",
    " ".join(["pay the bank"] * 20),
]


def tokenizer(specials):
    """A word-piece tokenizer with the marks `specials` in this order."""
    vocabulary = {piece: at for at, piece in enumerate([*specials, *WORDS])}
    made = Tokenizer(token_models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first, last = "[CLS]", "[SEP]"
    made.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])]
    )
    return made, len(vocabulary)


BERT_MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
# Its padding is always token 1, which has no position.
MPNET_MARKS = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
SHARED = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}


def transformer(name, config, network, pooling, dense, marks=None):
    """One architecture: its folder in sentence-transformers' form, and the vectors of TEXTS."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    made, size = tokenizer(marks or BERT_MARKS)
    assert config.vocab_size == size
    torch.manual_seed(7)
    bare = network(config)
    for parameter in bare.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    part = HERE / "part"
    bare.save_pretrained(part)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(part)
    steps = [models.Transformer(str(part), max_seq_length=24)]
    steps.append(models.Pooling(16, pooling_mode=pooling))
    if dense:
        steps.append(models.Dense(16, 8))
    steps.append(models.Normalize())
    whole = SentenceTransformer(modules=steps, device="cpu")
    whole.save(str(folder), create_model_card=False)
    shutil.rmtree(part)
    vectors = whole.encode(TEXTS, batch_size=4)
    write(folder, vectors)


def static():
    """A static encoder in the form of model2vec, with shared rows and weights."""
    folder = HERE / "static"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    made, size = tokenizer(BERT_MARKS)
    made.save(str(folder / "tokenizer.json"))
    draw = numpy.random.default_rng(7)
    table = draw.normal(size=(9, 8)).astype("float32")
    mapping = draw.integers(0, 9, size=size)
    weights = draw.uniform(0.5, 2, size=size).astype("float32")
    save_file({"embeddings": table, "mapping": mapping, "weights": weights}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"normalize": True}))
    vectors = []
    for text in TEXTS:
        ids = [i for i in made.encode(text, add_special_tokens=False).ids if i != 1]
        rows = numpy.array([table[mapping[i]] * weights[i] for i in ids]).reshape(-1, 8)
        mean = rows.mean(axis=0) if ids else numpy.zeros(8)
        vectors.append(mean / max(numpy.linalg.norm(mean), 1e-32))
    write(folder, vectors)


def write(folder, vectors):
    rows = [[round(float(x), 7) for x in vector] for vector in vectors]
    (folder / "expected.json").write_text(json.dumps({"texts": TEXTS, "vectors": rows}))
    for path in folder.rglob("*"):
        if path.name in ("README.md", "special_tokens_map.json", "vocab.txt", ".gitattributes"):
            path.unlink()


if __name__ == "__main__":
    size = len(BERT_MARKS) + len(WORDS)
    common = {**SHARED, "vocab_size": size}
    bert = transformers.BertConfig(**common, max_position_embeddings=30)
    transformer("bert", bert, transformers.BertModel, "mean", dense=False)
    roberta = transformers.XLMRobertaConfig(
        **common, max_position_embeddings=30, pad_token_id=0, type_vocab_size=1, layer_norm_eps=1e-5
    )
    transformer("xlm-roberta", roberta, transformers.XLMRobertaModel, "cls", dense=False)
    mpnet = transformers.MPNetConfig(**common, max_position_embeddings=30, pad_token_id=1)
    transformer("mpnet", mpnet, transformers.MPNetModel, "max", True, MPNET_MARKS)
    distil = transformers.DistilBertConfig(
        vocab_size=size, dim=16, n_layers=2, n_heads=4, hidden_dim=24, max_position_embeddings=30
    )
    transformer("distilbert", distil, transformers.DistilBertModel, "mean", dense=True)
    static()
